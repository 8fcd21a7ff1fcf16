"""The session of a request: its role and its session variables.

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

    client_headers: headers of the request, for actions that forward them;
    response_cookies: `Set-Cookie` values from actions' handlers, for the client.
    """

    role: str
    variables: dict[str, str] = field(default_factory=dict)
    backend_only: bool = False
    client_headers: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    response_cookies: list[str] = field(default_factory=list, compare=False, repr=False)

    @property
    def is_admin(self) -> bool:
        """Whether the role is the built-in one that has every permission."""
        return self.role == "admin"


def session_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the `x-hasura-*` headers of a request, names in lower case."""
    return {k.lower(): v for k, v in headers.items() if k.lower().startswith("x-hasura-")}


def make_session(role: str, variables: Mapping[str, str], *, trusted: bool) -> Session:
    """Make a session. Only trusted callers (admin secret, or no authentication at all) may use backend-only.

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
    """Compare in constant time."""
    return hmac.compare_digest(sent.encode(), real.encode())
