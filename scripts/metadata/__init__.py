"""`scripts/deploy_metadata`: puts our metadata into an engine that holds others' and leaves theirs alone."""
