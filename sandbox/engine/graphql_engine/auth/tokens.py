"""JWT as the engine reads them: the key that verifies them, the place of their claims, the required claims.

Facts: the engine's `Server/Auth/JWT` module; its messages for bad tokens come from the library `jose`.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

import jwt

from graphql_engine.errors import JsonValue, QErr
from graphql_engine.rawjson import kind_of
from graphql_engine.settings import StartError

DEFAULT_NAMESPACE = "https://hasura.io/jwt/claims"
ALLOWED_ROLES = "x-hasura-allowed-roles"
DEFAULT_ROLE = "x-hasura-default-role"
MAX_VERIFIED = 1000
ALGORITHMS = {"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "Ed25519"}
SUPPORTED = {
    "type",
    "key",
    "claims_namespace",
    "claims_format",
    "audience",
    "issuer",
    "allowed_skew",
    "header",
}


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
