"""What a handler process has: settings, database, Hasura, Pancake, metrics, logs, clock, secrets."""
