"""`leads metadata`: apply our metadata to an engine that others share, and leave theirs unchanged."""
