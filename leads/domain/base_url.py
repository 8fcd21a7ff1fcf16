"""The base URL of Pancake's API: its form, and the hosts to which an API key may be sent."""

import re
from collections.abc import Iterable

DEFAULT_HOSTS = frozenset({"https://crm.pancake.vn"})
EXAMPLE = "https://crm.pancake.vn/api"

# Scheme, host, port, path and nothing else, in one spelling: every parser of URLs reads it alike. The
# constraint ck_pancake_connection_api_base_url has the same rule.
_HOST = re.compile(r"(https?)://([a-z0-9][a-z0-9.-]*)(:[1-9][0-9]{0,4})?")
_PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
_DEFAULT_PORTS = {("https", ":443"), ("http", ":80")}


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
