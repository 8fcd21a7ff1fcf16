"""Refuse a configuration that would send a secret in clear text over a public network."""

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from psycopg.conninfo import conninfo_to_dict

from leads.domain.private_hosts import is_clear_text, is_private

Hop = Literal["postgres", "hasura", "pancake", "edge", "handlers"]
"""To PostgreSQL, to Hasura, to Pancake's API; from Pancake to the edge, from Hasura to the handlers."""

HOPS: tuple[Hop, ...] = get_args(Hop)
TLS_MODES = frozenset({"require", "verify-ca", "verify-full"})
"""The values of libpq's sslmode with which the password is never sent without TLS."""

VARIABLE = "ALLOW_CLEAR_TEXT"


class ClearText:
    """The hops that ALLOW_CLEAR_TEXT allows; what else is in clear text is added to `problems`."""

    def __init__(self, environment: Mapping[str, str], problems: list[str]) -> None:
        self._environment = environment
        self._problems = problems
        words = (word.strip() for word in environment.get(VARIABLE, "").split(","))
        named = {word for word in words if word}
        self.allowed: frozenset[str] = frozenset(named & set(HOPS))
        if named - self.allowed:
            problems.append(f"{VARIABLE} has names other than {', '.join(HOPS)}")

    def check_urls(self, variable: str, hop: Hop, urls: Iterable[str]) -> None:
        """Require https, or a host of a private network, of the URLs in a variable."""
        if hop not in self.allowed and any(is_clear_text(url) for url in urls):
            self._problems.append(f"{variable} is http to a public host: use https, or {_opt_out(hop)}")

    def check_database(self, variable: str, conninfo: str) -> None:
        """Require sslmode=require or better, or hosts of a private network. `conninfo` is valid."""
        given = conninfo_to_dict(conninfo)
        mode = given.get("sslmode") or self._environment.get("PGSSLMODE", "prefer")
        hosts = str(given.get("hostaddr") or given.get("host") or self._environment.get("PGHOST", ""))
        # Without a host, or with a path, libpq takes a socket of this machine.
        remote = [host for host in hosts.split(",") if host and not host.startswith(("/", "@"))]
        if mode in TLS_MODES or "postgres" in self.allowed or all(is_private(host) for host in remote):
            return
        self._problems.append(
            f"{variable} has a public host and no sslmode=require or better: add it, or"
            f" {_opt_out('postgres')}"
        )


def _opt_out(hop: Hop) -> str:
    return f"allow clear text with {VARIABLE}={hop}"
