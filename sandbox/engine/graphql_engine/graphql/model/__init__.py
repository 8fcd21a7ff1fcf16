"""The database as GraphQL sees it: tracked tables, permissions, and the view of one role."""
