"""What a run keeps on disk: its folder, its checkpoints, its log; and how runs are found."""
