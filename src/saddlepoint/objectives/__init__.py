"""The game as formulas: losses, penalties, schedules, and the theory of the 2014 paper."""
