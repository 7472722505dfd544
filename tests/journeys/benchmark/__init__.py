"""The benchmark of a running server: its table, its files and plots, a smaller batch that it finds, and the better of
two profiles."""

SECONDS = 140
TURN = 1
