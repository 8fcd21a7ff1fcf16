"""One TLS context for the clients of a command: to load the certificates takes longer than a request."""

import ssl
from functools import cache

import httpx


@cache
def tls_context() -> ssl.SSLContext:
    """Return the context that httpx makes by default, once. It verifies servers."""
    return httpx.create_ssl_context(trust_env=False)
