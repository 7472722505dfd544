"""Two hosts serve one model together, by tensor parallelism: deployed, restarted, restored and healed as one."""

SECONDS = 860
HOSTS = ("spark01", "spark02")
TURN = 1
