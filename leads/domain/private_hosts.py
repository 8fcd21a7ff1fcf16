"""Which hosts a secret may reach without TLS: this machine and private networks, as far as the name tells.

A name is not looked up: what it means may change after the start. deploy/nginx/lua/pancake/network.lua has
the same rule for the edge.
"""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

RANGES = tuple(
    ip_network(text)
    for text in (
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",
        "::1/128", "fc00::/7", "fe80::/10",
    )
)  # fmt: skip
"""Loopback, private (RFC 1918, RFC 4193) and link-local addresses."""

SUFFIXES = (".localhost", ".local", ".internal", ".svc", ".home.arpa")
"""Endings that no public name has (RFC 6761, 6762 and 8375, ICANN's resolution on `.internal`), and that of
Kubernetes. A name without a dot is one of a container or of a network's own name server."""


@lru_cache(maxsize=256)
def is_private(host: str) -> bool:
    """Whether a host name or an address (IPv6 without brackets) is of this machine or a private network."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        name = host.rstrip(".").lower()
        return bool(name) and ("." not in name or name.endswith(SUFFIXES)) and ":" not in name
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in RANGES)


def is_clear_text(url: str) -> bool:
    """Whether what is sent to a URL can be read on the way: http to a host that is not private."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return True
    return parts.scheme != "https" and not is_private(host)
