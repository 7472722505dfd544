"""Real faults: the operator is told verdict, cause and remedy; docs/reference/faults.md has the seconds."""

SECONDS = 1020
