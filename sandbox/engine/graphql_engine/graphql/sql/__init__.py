"""SQL that reads: conditions, ordering, aggregates, rows as JSON."""
