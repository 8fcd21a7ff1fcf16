"""Shared by several tests: databases, engines as processes, webhooks, an example schema."""
