"""A killed download leaves a dead partial; cleaning removes that, and never a live one."""

SECONDS = 45
TURN = 2
