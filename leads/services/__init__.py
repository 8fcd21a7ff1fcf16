"""Use cases: which statements and rules run in which order, in which transaction."""
