"""What a process has: database, Hasura, Pancake, HTTP, metrics, logs, clock, secrets, settings."""
