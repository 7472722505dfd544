"""What is somebody else's on a host: a server is refused, given back or taken over, files and units are left alone."""

SECONDS = 330
TURN = 3
