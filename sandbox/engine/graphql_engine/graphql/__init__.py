"""GraphQL over the tracked tables and actions, as Hasura v2 does it. See README.md."""
