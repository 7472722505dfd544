"""Two operators at once; runs that are broken off at each step are finished, taken back or rolled back by the next one;
deployments in a row leave nothing behind. The engine is a stand-in."""

SECONDS = 600
TURN = 3
