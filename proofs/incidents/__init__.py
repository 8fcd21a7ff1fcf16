"""The incidents: replayed as series into a real Prometheus, and made on purpose in a sandbox.

`catalogue` names them and the alerts that each raises. `recording` writes what Prometheus would have scraped,
by `model` and `series`, and evaluates the rules of deploy/prometheus over it. `live` breaks a sandbox and
waits for the alerts.
"""
