"""Turn the headers of a request into a `Session`, by the configured authentication mode.

Facts: the engine's `Server/Auth` module.
"""

from collections.abc import Mapping

from graphql_engine.auth.session import (
    ADMIN_SECRET_HEADERS,
    ROLE_HEADER,
    Session,
    make_session,
    same_secret,
    session_headers,
)
from graphql_engine.auth.tokens import JwtVerifier, role_and_variables
from graphql_engine.errors import QErr
from graphql_engine.settings import Settings

SECRET_NAMES = "/".join(ADMIN_SECRET_HEADERS)
QUOTED_NAMES = "/".join(f'"{name}"' for name in ADMIN_SECRET_HEADERS)


class Authenticator:
    def __init__(self, settings: Settings) -> None:
        self._secret = settings.admin_secret
        self._unauthorized = settings.unauthorized_role
        self._jwt = JwtVerifier(settings.jwt_secret) if settings.jwt_secret else None

    def session(self, headers: Mapping[str, str]) -> Session:
        """Return the session for these headers (names in lower case).

        Raises QErr: `access-denied` with 401 for secrets and 400 for roles; the JWT codes with 400.
        """
        variables = session_headers(headers)
        if self._secret is None:
            return make_session(variables.get(ROLE_HEADER) or "admin", variables, trusted=True)
        sent = next((variables[name] for name in ADMIN_SECRET_HEADERS if name in variables), None)
        if sent is not None:
            if not same_secret(sent, self._secret):
                raise QErr("access-denied", f"invalid {QUOTED_NAMES}", status=401)
            return make_session(variables.get(ROLE_HEADER) or "admin", variables, trusted=True)
        if self._jwt is not None and self._jwt.header_name.lower() in headers:
            claims = self._jwt.claims(headers[self._jwt.header_name.lower()])
            role, claimed = role_and_variables(claims, variables.get(ROLE_HEADER))
            return make_session(role, claimed, trusted=False)
        return self._without_credentials(variables)

    def _without_credentials(self, variables: dict[str, str]) -> Session:
        if self._unauthorized is not None:
            return make_session(self._unauthorized, variables, trusted=False)
        if self._jwt is not None:
            raise QErr(
                "invalid-headers", "Missing 'Authorization' or 'Cookie' header in JWT authentication mode"
            )
        raise QErr("access-denied", f"{SECRET_NAMES} required, but not found", status=401)
