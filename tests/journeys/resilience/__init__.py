"""Engine, container, Docker or the whole host killed, while serving and while loading; a frozen engine; the limits of
tries: it answers again, or says why not."""

SECONDS = 500
TURN = 3
