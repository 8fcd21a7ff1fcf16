"""`leads metadata`: puts our metadata into an engine that holds others' and leaves theirs as it is."""
