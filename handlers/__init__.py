"""What Hasura and the edge call: one module per action, event trigger, and the policy of the edge."""
