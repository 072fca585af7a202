"""The training doctor: what it measures, by which rules it judges, what it changes."""
