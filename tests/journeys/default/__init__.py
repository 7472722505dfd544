"""The main job on `spark01`: check, converge, idempotence, and a server that answers the OpenAI SDK."""

HOSTS = ("spark01",)
SECONDS = 205
