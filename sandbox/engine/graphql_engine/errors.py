"""The one error type of the stand-in, in the two JSON shapes that Hasura uses.

Facts: the engine's `Base/Error` module (codes, JSON paths, both encodings).
"""

import json
import re
from typing import Any

JsonValue = Any
# Keys that a JSON path shows without quotes.
PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")


def json_path(*parts: str | int, start: str = "$") -> str:
    """Format a JSON path as Hasura does: `$.args.objects[0]["odd key"]`."""
    spelled = start
    for part in parts:
        if isinstance(part, int):
            spelled += f"[{part}]"
        elif PLAIN_KEY.match(part):
            spelled += f".{part}"
        else:
            spelled += f"[{json.dumps(part, ensure_ascii=False)}]"
    return spelled


class QErr(Exception):
    """An error for the client.

    path: JSON path into the request ("$…"); status: HTTP status on endpoints that use real ones;
    internal: details for admins only; extensions: replaces the GraphQL extensions (actions).
    """

    def __init__(
        self,
        code: str,
        message: str,
        path: str = "$",
        status: int = 400,
        internal: JsonValue = None,
        extensions: dict[str, JsonValue] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.path = path
        self.status = status
        self.internal = internal
        self.extensions = extensions

    def under(self, *parts: str | int) -> "QErr":
        """Prefix the path of the error: `$.x` under ("args",) is `$.args.x`."""
        self.path = json_path(*parts) + self.path[1:]
        return self

    def as_graphql(self, *, include_internal: bool = False) -> dict[str, JsonValue]:
        """Return one element of `errors` in a GraphQL response."""
        if self.extensions is not None:
            return {"message": self.message, "extensions": self.extensions}
        extensions: dict[str, JsonValue] = {"path": self.path, "code": self.code}
        if include_internal and self.internal is not None:
            extensions["internal"] = self.internal
        return {"message": self.message, "extensions": extensions}

    def as_api(self, *, include_internal: bool = False) -> dict[str, JsonValue]:
        """Return the body for the metadata, query and REST endpoints."""
        body: dict[str, JsonValue] = {"path": self.path, "error": self.message, "code": self.code}
        if include_internal and self.internal is not None:
            body["internal"] = self.internal
        return body


def not_exists(message: str, path: str = "$") -> QErr:
    """Return the error (400) for an object that is named in the request and does not exist."""
    return QErr("not-exists", message, path)


def unexpected(message: str, internal: JsonValue = None, path: str = "$") -> QErr:
    """Return the error (500) for a failure of the engine or of a webhook."""
    return QErr("unexpected", message, path, 500, internal)


def unsupported(what: str, path: str = "$") -> QErr:
    """Return the error (400) for something that Hasura supports and this stand-in does not."""
    return QErr("not-supported", f"{what} is not supported by this stand-in", path)
