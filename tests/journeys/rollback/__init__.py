"""A release that cannot start is rolled back, with its secrets; the service is removed, and the models stay; a start
that lacks memory is remedied on request."""

SECONDS = 280
TURN = 2
