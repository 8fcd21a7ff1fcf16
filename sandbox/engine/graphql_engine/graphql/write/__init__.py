"""Inserts, updates and what they return."""
