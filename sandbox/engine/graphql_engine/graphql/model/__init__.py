"""What GraphQL sees of the database: tracked tables, permissions, and the view of one role."""
