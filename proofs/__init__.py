"""What is cited: benchmarks, chaos runs, crash points, mutants, the load test, incidents, the genuine engine.

Neither production code nor the sandbox imports it.
"""
