"""A model in a folder of the host, with template, parser, adapter and mount of the owner: checked, proven, in use."""

SECONDS = 140
TURN = 0
