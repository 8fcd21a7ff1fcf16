"""Clients of services that only the operators' command calls."""
