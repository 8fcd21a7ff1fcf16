"""`scripts/connection`: manage the connections to Pancake workspaces and their secrets."""
