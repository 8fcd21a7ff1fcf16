"""Execution of the root fields of one operation."""
