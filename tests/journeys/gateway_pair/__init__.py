"""Two gateways share an address in network namespaces, by real keepalived and HAProxy: set-up, failures, removal."""

SECONDS = 60
TURN = 0
