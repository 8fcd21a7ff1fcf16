"""The load test: leads at a constant rate through the whole sandbox, every one of them counted."""
