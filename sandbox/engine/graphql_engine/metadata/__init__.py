"""The metadata: their keys, checked, exported."""
