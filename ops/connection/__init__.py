"""`leads connection`: the connections to Pancake workspaces, and their secrets."""
