"""Who is asking: admin secret, JWT or nobody, turned into a `Session`.

Facts: the engine's `Server/Auth`, `Server/Auth/JWT` and `Session` modules.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from graphql_engine.errors import QErr

ADMIN_SECRET_HEADERS = ("x-hasura-admin-secret", "x-hasura-access-key")
ROLE_HEADER = "x-hasura-role"
BACKEND_ONLY_HEADER = "x-hasura-use-backend-only-permissions"
TRUE_WORDS = {"true", "t", "yes", "y"}
FALSE_WORDS = {"false", "f", "no", "n"}


@dataclass(frozen=True)
class Session:
    """The role of a request and its session variables (names in lower case).

    client_headers: the request's headers, for actions that forward them;
    response_cookies: `Set-Cookie` values that actions' handlers sent and the client is to get.
    """

    role: str
    variables: dict[str, str] = field(default_factory=dict)
    backend_only: bool = False
    client_headers: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    response_cookies: list[str] = field(default_factory=list, compare=False, repr=False)

    @property
    def is_admin(self) -> bool:
        """The built-in role that no permission limits."""
        return self.role == "admin"


def session_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The `x-hasura-*` headers of a request, names in lower case."""
    return {k.lower(): v for k, v in headers.items() if k.lower().startswith("x-hasura-")}


def make_session(role: str, variables: Mapping[str, str], *, trusted: bool) -> Session:
    """A session of `role`; only trusted callers (admin secret, or no auth at all) may use backend-only.

    Raises QErr `bad-request` if the backend-only header is not a boolean word.
    """
    kept = {k: v for k, v in variables.items() if k not in ADMIN_SECRET_HEADERS}
    kept[ROLE_HEADER] = role
    word = variables.get(BACKEND_ONLY_HEADER)
    if not trusted or word is None:
        return Session(role, kept)
    lowered = word.lower()
    if lowered not in TRUE_WORDS | FALSE_WORDS:
        raise QErr(
            "bad-request",
            f'{BACKEND_ONLY_HEADER}:  Not a valid boolean text. True values are ["true","t","yes","y"]'
            ' and  False values are ["false","f","no","n"]. All values are case insensitive',
        )
    return Session(role, kept, backend_only=lowered in TRUE_WORDS)


def same_secret(sent: str, real: str) -> bool:
    """Comparison in constant time."""
    return hmac.compare_digest(sent.encode(), real.encode())
