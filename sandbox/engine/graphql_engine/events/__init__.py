"""Event triggers: their SQL triggers, and the delivery of what these wrote."""
