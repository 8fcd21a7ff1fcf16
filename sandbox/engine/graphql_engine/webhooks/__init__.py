"""Calls of webhooks: environment variables, transforms, requests, and their log entries."""
