"""One host copies a model from the other, each byte once; broken off, gone on with, refused, nothing left behind; the
daily clean."""

HOSTS = ("spark01", "spark02")
SECONDS = 95
TURN = 2
