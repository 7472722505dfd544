"""A host on which the guide's own Compose project serves: refused, given back, or taken over, and never removed."""

SECONDS = 150
