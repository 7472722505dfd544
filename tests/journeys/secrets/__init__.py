"""`-vvv --diff` prints no secret; on the host it is in one file and in the container's environment; every path but
/health asks for the key."""

SECONDS = 60
