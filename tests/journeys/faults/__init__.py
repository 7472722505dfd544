"""Some thirty real faults: the operator is told verdict, cause and remedy; docs/faults.md has the seconds it takes."""

SECONDS = 980
