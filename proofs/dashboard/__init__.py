"""The dashboard as code: Grafana's model of it, and pictures of its panels."""
