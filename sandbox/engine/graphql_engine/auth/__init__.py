"""Authentication: admin secret, JWT or the unauthorized role becomes a `Session`."""
