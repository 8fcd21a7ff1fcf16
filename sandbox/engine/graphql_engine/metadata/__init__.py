"""The metadata: read from a directory, merged, checked, exported."""
