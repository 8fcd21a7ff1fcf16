"""The one error type of the stand-in, with the two shapes in which Hasura shows an error.

Facts: the engine's `Base/Error` module (codes, JSON paths, both encodings).
"""

import json
import re
from typing import Any

JsonValue = Any
PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")


def json_path(*parts: str | int, start: str = "$") -> str:
    """Hasura's spelling of a JSON path: `$.args.objects[0]["odd key"]`."""
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

    path: JSON path into the request ("$…"); status: HTTP status on the endpoints that use real ones;
    internal: details shown to admins only; extensions: replaces the GraphQL extensions whole (actions).
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
        """The same error with its path seen from further outside: `$.x` under ("args",) is `$.args.x`."""
        self.path = json_path(*parts) + self.path[1:]
        return self

    def as_graphql(self, *, include_internal: bool = False) -> dict[str, JsonValue]:
        """One element of `errors` in a GraphQL answer."""
        if self.extensions is not None:
            return {"message": self.message, "extensions": self.extensions}
        extensions: dict[str, JsonValue] = {"path": self.path, "code": self.code}
        if include_internal and self.internal is not None:
            extensions["internal"] = self.internal
        return {"message": self.message, "extensions": extensions}

    def as_api(self, *, include_internal: bool = False) -> dict[str, JsonValue]:
        """The body on the metadata, query and REST endpoints."""
        body: dict[str, JsonValue] = {"path": self.path, "error": self.message, "code": self.code}
        if include_internal and self.internal is not None:
            body["internal"] = self.internal
        return body


def not_exists(message: str, path: str = "$") -> QErr:
    """Something named in the request is not there (400)."""
    return QErr("not-exists", message, path)


def unexpected(message: str, internal: JsonValue = None, path: str = "$") -> QErr:
    """A failure on this side or at a webhook (500)."""
    return QErr("unexpected", message, path, 500, internal)
