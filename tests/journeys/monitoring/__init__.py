"""A real Prometheus watches a real vLLM that asks for its key: every query has data; a frozen engine, a full queue,
held memory, a stopped server and one that is killed fire their alerts and resolve; and a removal leaves nothing."""

SECONDS = 420
TURN = 3
