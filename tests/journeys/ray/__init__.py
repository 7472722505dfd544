"""Two hosts whose image has only Ray for it: a cluster of two as a service, which forms again after either of them was
restarted. The engine is a stand-in: vLLM's executor for Ray does not serve on CPU."""

SECONDS = 400
HOSTS = ("spark01", "spark02")
TURN = 2
