"""`leads report`: the figures of a period for sales managers."""
