"""A real Prometheus and Alertmanager with the rules of deploy/, on loopback."""
