"""The commands of /v1/query and /v2/query that are older than GraphQL: data and run_sql."""
