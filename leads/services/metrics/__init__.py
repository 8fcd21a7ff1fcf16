"""The figures of `GET /metrics` that are read from the database."""
