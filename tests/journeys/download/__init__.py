"""Real clients of two generations: joined, killed, damaged, refused; what was broken is loaded by vLLM; a staged model
is switched to without a hub."""

SECONDS = 470
TURN = 3
