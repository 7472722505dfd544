"""One address in front of two real vLLM servers under load: a rolling deployment fails no request, and a killed
server none once the gateway has noticed."""

HOSTS = ("spark01", "spark02")
SECONDS = 400
