"""Run the contract suite and the end-to-end tests against the genuine engine, in Docker."""
