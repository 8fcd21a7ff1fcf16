"""The GraphQL schema of one role."""
