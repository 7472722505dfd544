"""Two hosts: how long nobody answers; a bad release stops at the first host; other servers are taken over and given
back; a staged model is switched to without hub and registry; two operators; runs that are broken off; deployments in
a row."""

HOSTS = ("spark01", "spark02")
SECONDS = 1300
