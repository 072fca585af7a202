"""A run from the request to the object: planned, started, trained, loaded, measured, found again."""
