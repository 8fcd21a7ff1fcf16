"""Event triggers: their SQL triggers, the event log, and its delivery."""
