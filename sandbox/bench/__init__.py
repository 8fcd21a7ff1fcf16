"""What `scripts/bench` measures: our handlers, each against a baseline in the same run."""
