"""Bad values are refused in one line, before any connection."""

SECONDS = 25
