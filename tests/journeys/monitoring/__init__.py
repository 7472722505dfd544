"""A real Prometheus watches a real vLLM that asks for its key: every query has data, a frozen engine, a full queue
and a stopped server fire their alerts at the second evaluation and resolve, and a removal leaves nothing."""

SECONDS = 200
TURN = 3
