"""SQL for reading: conditions, ordering, aggregates, rows as JSON."""
