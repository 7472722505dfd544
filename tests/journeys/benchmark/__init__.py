"""The benchmark of a running server: its table, its files and plots, and a smaller batch that it finds."""

SECONDS = 80
TURN = 1
