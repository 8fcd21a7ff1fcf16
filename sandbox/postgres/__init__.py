"""An embedded PostgreSQL server, and databases on it."""
