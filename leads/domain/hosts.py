"""Which hosts may get a secret: an API key, those that are named; without TLS, those of private networks.

A name is not looked up: what it means may change after the start. deploy/nginx/lua/pancake/network.lua has
the same rule of private networks for the edge.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

DEFAULT_HOSTS = frozenset({"https://crm.pancake.vn"})

# Scheme, host, port, path and nothing else, in one spelling: every parser of URLs reads it alike. The
# constraint ck_pancake_connection_api_base_url has the same rule.
_HOST = re.compile(r"(https?)://([a-z0-9][a-z0-9.-]*)(:[1-9][0-9]{0,4})?")
_PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
_DEFAULT_PORTS = {("https", ":443"), ("http", ":80")}

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


def host_of(base_url: str) -> str | None:
    """Return scheme, host and port, for example `https://crm.pancake.vn`; None if it is not a base URL."""
    match = _HOST.match(base_url)
    if match is None or not _PATH.fullmatch(base_url, match.end()):
        return None
    return _spell(match)


def read_hosts(entries: Iterable[str]) -> frozenset[str]:
    """Read hosts as `host_of` returns them; one without a scheme means https. Raises ValueError."""
    hosts = set()
    for entry in entries:
        match = _HOST.fullmatch(entry if "://" in entry else f"https://{entry}")
        if match is None:
            raise ValueError(f"{entry!r} is not a host")
        hosts.add(_spell(match))
    return frozenset(hosts)


def _spell(match: re.Match[str]) -> str:
    scheme, host, port = match.groups()
    return f"{scheme}://{host}" if port is None or (scheme, port) in _DEFAULT_PORTS else match[0]


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
