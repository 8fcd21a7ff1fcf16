"""Who may call a route: Hasura and the edge, each with its secret, and never in clear text from afar."""

from datetime import datetime
from ipaddress import ip_address

from starlette.types import Scope

from leads.adapters.settings import Settings
from leads.domain.errors import InClearText, Unauthorized
from leads.domain.hosts import is_private

HANDLER_SECRET_HEADER = b"x-handler-secret"
EDGE_SECRET_HEADER = b"x-edge-secret"


def authenticate(scope: Scope, settings: Settings, now: datetime, *, allows_edge: bool) -> None:
    """Accept Hasura's secret, and the edge's where it may call. Raises Unauthorized and InClearText."""
    if not (_is_tls(scope) or "handlers" in settings.clear_text or _is_caller_private(scope)):
        raise InClearText
    if settings.handler_secret.accepts(_header(scope, HANDLER_SECRET_HEADER), now):
        return
    if allows_edge and settings.edge_secret.accepts(_header(scope, EDGE_SECRET_HEADER), now):
        return
    raise Unauthorized


def authenticate_edge_in_private(scope: Scope, settings: Settings, now: datetime) -> None:
    """Accept the edge's secret, over loopback or TLS only. Raises Unauthorized."""
    is_edge = settings.edge_secret.accepts(_header(scope, EDGE_SECRET_HEADER), now)
    if not is_edge or not _is_private(scope):
        raise Unauthorized


def _header(scope: Scope, name: bytes) -> str | None:
    """Return the first value of a header, whose name ASGI gives in lower case."""
    return next((value.decode("latin-1") for given, value in scope["headers"] if given == name), None)


def _is_tls(scope: Scope) -> bool:
    return bool(scope.get("scheme") == "https")


def _is_caller_private(scope: Scope) -> bool:
    """Whether the caller is on this machine or in a private network."""
    client = scope.get("client")
    return client is not None and is_private(client[0])


def _is_private(scope: Scope) -> bool:
    """Whether the hop cannot be read by others: TLS, or a caller on this machine."""
    if _is_tls(scope):
        return True
    client = scope.get("client")
    try:
        return client is not None and ip_address(client[0]).is_loopback
    except ValueError:
        return False
