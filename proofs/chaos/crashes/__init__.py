"""Crash points: every round trip of the handlers and the edge, and a fault at each moment of it."""
