"""What Hasura calls: one module for each action and event trigger."""
