"""The benchmarks of `scripts/bench`; each command is a module of the same name."""
