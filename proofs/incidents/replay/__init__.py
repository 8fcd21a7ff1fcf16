"""Write the series of a time as OpenMetrics, load them into a real Prometheus, and evaluate the rules."""
