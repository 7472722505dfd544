"""The memory plan gives the tokens that real engines log, for fourteen small models of as many shapes; what does not
fit is refused before the download."""

SECONDS = 110
TURN = 0
