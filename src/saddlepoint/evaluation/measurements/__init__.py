"""Named measurements, a file for each kind: what is measured, against which control rows."""
