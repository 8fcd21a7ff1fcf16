"""What several tests use: databases, engines as processes, webhooks, an example schema."""
