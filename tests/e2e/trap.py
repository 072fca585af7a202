"""Imported by nothing: pickles name it (`instructions.py`), and a reader that looks their names up would import it."""


def spring() -> None:
    """Do nothing; that this module is in `sys.modules` says enough."""
