"""Sources: where rows come from, one reader a format."""
