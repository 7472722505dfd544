"""One address in front of two real vLLM servers under load: a rolling deployment fails no request, nor does a switch
of the only server, which holds them, nor one of two services of one host. When one server is killed, only requests in
progress on it fail. What the gateway has to refuse does not reach them."""

HOSTS = ("spark01", "spark02")
SECONDS = 960
TURN = 0
