"""The data commands of /v1/query and /v2/query, older than GraphQL."""
