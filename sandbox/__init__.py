"""The development environment: stand-ins for what others run in production, and the commands that use them.

Production code never imports it.
"""
