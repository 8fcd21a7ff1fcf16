"""Write a metadata directory in the form in which `hasura metadata export` (CLI v2, config v3) writes it.

Facts: what the CLI exported from an engine with our metadata; engine and CLI of January 2026 (v2.48.10).
"""
