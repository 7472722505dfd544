"""A server that was taken over plants objects in its folders, swaps folders, lies and answers without end: the
operator's day ends, and nothing outside changes."""

SECONDS = 115
TURN = 1
