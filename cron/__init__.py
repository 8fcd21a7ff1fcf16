"""What Hasura's cron triggers call: one module for each."""
