"""A model in a folder of the host, with template, parser, adapter and mount of the owner: checked, proven, in use."""

SECONDS = 100
TURN = 0
