"""Authentication: admin secret, JWT or the unauthorized role becomes the `Session` of a request.

Facts: the engine's `Server/Auth`, `Server/Auth/JWT` and `Session` modules; messages for bad tokens come
from its library `jose`.
"""

import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from graphql_engine.errors import JsonValue, QErr
from graphql_engine.rawjson import kind_of
from graphql_engine.settings import Settings, StartError

ADMIN_SECRET_HEADERS = ("x-hasura-admin-secret", "x-hasura-access-key")
ROLE_HEADER = "x-hasura-role"
BACKEND_ONLY_HEADER = "x-hasura-use-backend-only-permissions"
TRUE_WORDS = {"true", "t", "yes", "y"}
FALSE_WORDS = {"false", "f", "no", "n"}
DEFAULT_NAMESPACE = "https://hasura.io/jwt/claims"
ALLOWED_ROLES = "x-hasura-allowed-roles"
DEFAULT_ROLE = "x-hasura-default-role"
MAX_VERIFIED = 1000
ALGORITHMS = {"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "Ed25519"}
SUPPORTED = {
    "type", "key", "claims_namespace", "claims_format", "audience", "issuer", "allowed_skew", "header",
}  # fmt: skip
SECRET_NAMES = "/".join(ADMIN_SECRET_HEADERS)
QUOTED_NAMES = "/".join(f'"{name}"' for name in ADMIN_SECRET_HEADERS)


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


class JwtVerifier:
    """Verify tokens against one `HASURA_GRAPHQL_JWT_SECRET`.

    Raises StartError for a configuration that this stand-in does not support (jwk_url, claims_map, …).
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        for key in config:
            if key not in SUPPORTED:
                raise StartError(f"HASURA_GRAPHQL_JWT_SECRET: key {key!r} is not supported here")
        kind = config.get("type")
        if kind not in ALGORITHMS or not config.get("key"):
            raise StartError(f"HASURA_GRAPHQL_JWT_SECRET: Invalid JWK: Key type: {kind} is not supported")
        self._algorithm = "EdDSA" if kind == "Ed25519" else str(kind)
        self._key = str(config["key"])
        self._namespace = str(config.get("claims_namespace", DEFAULT_NAMESPACE))
        self._stringified = config.get("claims_format", "json") == "stringified_json"
        self._audience = config.get("audience")
        self._issuer = config.get("issuer")
        self._skew = int(config.get("allowed_skew", 0))
        header = config.get("header") or {"type": "Authorization"}
        self._verified: dict[str, tuple[float, dict[str, JsonValue]]] = {}
        self._cookie = str(header["name"]) if header.get("type") == "Cookie" else None

    @property
    def header_name(self) -> str:
        return "Cookie" if self._cookie else "Authorization"

    def claims(self, header_value: str) -> dict[str, JsonValue]:
        """Return the `x-hasura-*` claims of a token: names in lower case, values unchanged.

        A token with an expiry is verified once.

        Raises QErr `invalid-headers`, `invalid-jwt` or `jwt-invalid-claims`.
        """
        known = self._verified.get(header_value)
        if known is not None and time.time() < known[0]:
            return known[1]
        payload = self._verify(self._token(header_value))
        claims = self._claims_of(payload)
        if "exp" in payload:
            if len(self._verified) >= MAX_VERIFIED:
                self._verified.clear()
            self._verified[header_value] = (float(payload["exp"]) + self._skew, claims)
        return claims

    def _claims_of(self, payload: dict[str, Any]) -> dict[str, JsonValue]:
        if self._namespace not in payload:
            raise QErr("jwt-invalid-claims", f"claims key: '{self._namespace}' not found")
        found = self._parsed_claims(payload[self._namespace])
        return {k.lower(): v for k, v in found.items() if k.lower().startswith("x-hasura-")}

    def _token(self, value: str) -> str:
        if self._cookie is None:
            parts = value.split()
            if len(parts) != 2 or parts[0] != "Bearer":
                raise QErr("invalid-headers", "Malformed Authorization header")
            return parts[1]
        for cookie in value.split(";"):
            name, _, content = cookie.strip().partition("=")
            if name == self._cookie:
                return content
        raise QErr("invalid-headers", f"Could not find {self._cookie} in Cookie header")

    def _verify(self, token: str) -> dict[str, Any]:
        parts = token.count(".") + 1
        if parts != 3:
            raise _invalid(
                f"JWSError (CompactDecodeError Invalid number of parts: Expected 3 parts; got {parts})"
            )
        if token.endswith("."):
            raise _invalid("JWSError JWSNoSignatures")
        options: Any = {
            "verify_aud": self._audience is not None,
            "verify_iat": False,
            "verify_sub": False,
            "verify_jti": False,
        }
        try:
            return jwt.decode(
                token,
                self._key,
                algorithms=[self._algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._skew,
                options=options,
            )
        except jwt.ExpiredSignatureError as error:
            raise _invalid("JWTExpired") from error
        except jwt.ImmatureSignatureError as error:
            raise _invalid("JWTNotYetValid") from error
        except jwt.InvalidAudienceError as error:
            raise _invalid("JWTNotInAudience") from error
        except jwt.InvalidIssuerError as error:
            raise _invalid("JWTNotInIssuer") from error
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError) as error:
            raise _invalid("JWSError JWSInvalidSignature") from error
        except jwt.PyJWTError as error:
            raise _invalid('JWSError (JSONDecodeError "Not valid base64url")') from error

    def _parsed_claims(self, value: JsonValue) -> dict[str, JsonValue]:
        if self._stringified:
            if not isinstance(value, str):
                raise QErr("jwt-invalid-claims", "expecting a string when claims_format is stringified_json")
            try:
                value = json.loads(value)
            except ValueError as error:
                where = f"claims_namespace {self._namespace}"
                raise QErr(
                    "jwt-invalid-claims", f"expecting stringified json at: '{where}', but found: {value}"
                ) from error
        if not isinstance(value, dict):
            raise QErr("jwt-invalid-claims", "expecting a json object when claims_format is json")
        return value


def _invalid(reason: str) -> QErr:
    return QErr("invalid-jwt", f"Could not verify JWT: {reason}")


def role_and_variables(claims: Mapping[str, JsonValue], asked_role: str | None) -> tuple[str, dict[str, str]]:
    """Return the role (the requested one, else the token's default) and the session variables of a token.

    Raises QErr if role claims are missing or malformed, the role is not allowed, or a value is not a string.
    """
    allowed = _claim(claims, ALLOWED_ROLES)
    if not isinstance(allowed, list) or not all(isinstance(role, str) for role in allowed):
        raise _bad_claim(ALLOWED_ROLES, "should be a list of roles", "[]", allowed)
    default = _claim(claims, DEFAULT_ROLE)
    if not isinstance(default, str):
        raise _bad_claim(DEFAULT_ROLE, "should be a single role name", "Text", default)
    role = asked_role or default
    if role not in allowed:
        raise QErr("access-denied", "Your requested role is not in allowed roles")
    variables = {k: v for k, v in claims.items() if k not in (ALLOWED_ROLES, DEFAULT_ROLE)}
    for value in variables.values():
        if not isinstance(value, str):
            raise QErr(
                "jwt-invalid-claims",
                f"x-hasura-* claims: parsing Text failed, expected String, but encountered {kind_of(value)}",
            )
    return role, variables


def _claim(claims: Mapping[str, JsonValue], name: str) -> JsonValue:
    if name not in claims:
        raise QErr("jwt-missing-role-claims", f'JWT claim does not contain "{name}"')
    return claims[name]


def _bad_claim(name: str, hint: str, wanted: str, value: JsonValue) -> QErr:
    expected = "Array" if wanted == "[]" else "String"
    reason = f"parsing {wanted} failed, expected {expected}, but encountered {kind_of(value)}"
    return QErr("jwt-invalid-claims", f'invalid "{name}"; {hint}: {reason}')


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
            if not hmac.compare_digest(sent.encode(), self._secret.encode()):
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
