"""Send the notifications that rows hold: what the outbox of events and the notices of cron runs share."""
