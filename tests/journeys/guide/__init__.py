"""Compose's view of the rendered service is the guide's own, but for listed differences, in all three profiles; a real
vLLM's parser accepts every command line of the catalog."""

SECONDS = 65
TURN = 2
