"""The host that comes without Docker: Docker's real error, the role, and the GPU reservation is accepted."""

HOSTS = ("spark02",)
SECONDS = 200
