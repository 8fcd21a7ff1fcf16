"""Chaos scenarios: each breaks something on purpose and counts what was lost or doubled."""
