"""Calls to webhooks: environment variables, transforms, sending, and what is logged of them."""
