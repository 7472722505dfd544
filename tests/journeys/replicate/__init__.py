"""One host copies a model from the other, each byte once; broken off, gone on with, refused, nothing left behind; an
image too, without its registry; the daily clean."""

HOSTS = ("spark01", "spark02")
SECONDS = 155
TURN = 2
