"""Talking to the engine: login, requests, refusals, waiting, events."""
