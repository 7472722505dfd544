"""Two hosts: how long nobody answers; a bad release stops at the first host; a staged model is switched to without hub
and registry."""

HOSTS = ("spark01", "spark02")
SECONDS = 450
TURN = 2
