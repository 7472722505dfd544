"""A model in a folder of the host, with a template, an adapter and a mount of the owner: checked, proven, in use."""

SECONDS = 90
TURN = 0
