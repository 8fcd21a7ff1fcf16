"""Break a running sandbox on purpose, and wait for the alerts of a real Prometheus and Alertmanager."""
