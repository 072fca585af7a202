"""The command `saddle`, a module for each group of commands; the only room that speaks to a terminal."""
