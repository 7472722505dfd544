"""A release as a plain folder: Docker Compose alone serves the same model from it."""

SECONDS = 100
TURN = 1
