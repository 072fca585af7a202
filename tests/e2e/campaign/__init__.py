"""A campaign of faults: each is put into a real command, in a process of its own; what was saved must still be there.

`benchmarks/faults.py` carries it out. A *state* is what a command does (training, resuming, exporting ...), a *kind* is
what happens to it. Processes are forked from one that has everything imported, so a fault takes a second or so.
Every fault is drawn from its seed; the very moment at which a signal arrives cannot be repeated.
"""
