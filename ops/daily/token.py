"""`leads token`: print the JWT that the handlers or the edge send to Hasura.

Facts: the claims and the variable HASURA_GRAPHQL_JWT_SECRET,
https://hasura.io/docs/2.0/auth/authentication/jwt/."""

import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import jwt
import typer

from leads.adapters.secrets import MIN_SECRET_CHARACTERS
from ops.failures import WrongUsage, file_reason
from ops.files import replacing
from ops.output import AsJson, print_json, print_result, say
from ops.settings import read_operator_settings

VARIABLE = "HASURA_GRAPHQL_JWT_SECRET"
NAMESPACE = "https://hasura.io/jwt/claims"
SYMMETRIC = ("HS256", "HS384", "HS512")
ASYMMETRIC = {"RS256": "RS256", "RS384": "RS384", "RS512": "RS512", "Ed25519": "EdDSA"}
"""The engine's names of algorithms with a key pair, and those of the JWT standard."""
MAX_DAYS = 90
ASK_THE_ISSUER = "ask the issuer of this engine's tokens for a token"
Role = Literal["pancake_service", "pancake_edge"]
"""The holder of a token."""
HOLDERS: dict[Role, tuple[str, str]] = {
    "pancake_service": ("HASURA_SERVICE_TOKEN", "the handlers"),
    "pancake_edge": ("HASURA_EDGE_TOKEN", "the edge"),
}
"""The variable of a token, and the service that reads it."""


def token(
    role: Annotated[
        Role, typer.Argument(help="pancake_service for the handlers, pancake_edge for the edge.")
    ],
    private_key: Annotated[
        Path | None, typer.Option(help="PEM file of the private key, if the engine has a public key.")
    ] = None,
    days: Annotated[int, typer.Option(help="How long the token is valid.", min=1, max=MAX_DAYS)] = MAX_DAYS,
    into: Annotated[
        Path | None, typer.Option(help="Put it into this file of `leads setup`, and print none.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print a JWT of one role, and say when it ends. The one before is valid until its own end.

    HASURA_GRAPHQL_JWT_SECRET must have the engine's own value. Exit code 2: no token can be signed with it.
    """
    issued_at = datetime.now(UTC).replace(microsecond=0)
    expires_at = issued_at + timedelta(days=days)
    configuration = read_configuration(read_operator_settings(VARIABLE).jwt_secret)
    try:
        signed = make_token(role, configuration, issued_at, expires_at, private_key)
    except (jwt.PyJWTError, OSError, ValueError, TypeError) as error:
        raise WrongUsage(f"The token could not be signed: {error}. Check {VARIABLE} and the key.") from error
    shown = {"role": role, "token": signed, "expires_at": expires_at.isoformat()}
    ends = f"It ends at {expires_at:%Y-%m-%d %H:%M} UTC."
    if into is None:
        print_result(shown, signed, as_json=as_json)
        say(f"{ends} Put the next one into place before.")
        return
    variable, holder = HOLDERS[role]
    _replace(into, variable, signed)
    if as_json:
        print_json({"role": role, "file": str(into), "expires_at": shown["expires_at"]})
    say(f"{ends} {into} has it. Restart {holder}.")


def _replace(path: Path, variable: str, value: str) -> None:
    """Replace a variable in a file `KEY=value`; mode and owner stay. Raises WrongUsage."""
    try:
        text, before = path.read_text("utf-8"), path.stat()
        replaced, count = re.subn(rf"^{variable}=.*$", f"{variable}={value}", text, flags=re.MULTILINE)
        if count != 1:
            raise WrongUsage(f"{path} has {count} lines {variable}=…, not one. Give the file of its holder.")
        with replacing(path, before.st_mode & 0o777) as fresh:
            fresh.write_text(replaced, "utf-8")
            os.chown(fresh, before.st_uid, before.st_gid)
    except OSError as error:
        raise WrongUsage(f"{path} could not be changed: {file_reason(error)}") from error


def make_token(
    role: Role,
    configuration: dict[str, Any],
    issued_at: datetime,
    expires_at: datetime,
    private_key: Path | None = None,
) -> str:
    """Sign a token that an engine with this configuration accepts until it ends. Raises WrongUsage."""
    claims: Any = {"x-hasura-default-role": role, "x-hasura-allowed-roles": [role]}
    if configuration.get("claims_format") == "stringified_json":
        claims = json.dumps(claims)
    payload: dict[str, Any] = {configuration.get("claims_namespace", NAMESPACE): claims}
    payload |= {"iat": issued_at, "exp": expires_at}
    for claim, name in (("aud", "audience"), ("iss", "issuer")):
        if configuration.get(name) is not None:
            payload[claim] = configuration[name]
    algorithm, key = _choose_key(configuration, private_key)
    return jwt.encode(payload, key, algorithm=algorithm)


def _choose_key(configuration: dict[str, Any], private_key: Path | None) -> tuple[str, str]:
    """Return the algorithm and the key to sign with. Raises WrongUsage."""
    kind = str(configuration.get("type"))
    for unsupported in ("claims_map", "claims_namespace_path"):
        if unsupported in configuration:
            raise WrongUsage(f"{VARIABLE} has {unsupported}, which is not supported: {ASK_THE_ISSUER}.")
    if kind in SYMMETRIC and configuration.get("key"):
        key = str(configuration["key"])
        if len(key) < MIN_SECRET_CHARACTERS:
            raise WrongUsage(
                f"The key in {VARIABLE} is shorter than {MIN_SECRET_CHARACTERS} characters. "
                "Give the engine a longer one."
            )
        return kind, key
    if kind in ASYMMETRIC and private_key is not None:
        return ASYMMETRIC[kind], private_key.read_text()
    if kind in ASYMMETRIC:
        option = "--private-key FILE (of leads setup: --jwt-private-key)"
        raise WrongUsage(f"{VARIABLE} holds a public key. Give the private key with {option}.")
    raise WrongUsage(f"{VARIABLE} has no key that can sign: {ASK_THE_ISSUER}.")


def read_configuration(text: str) -> dict[str, Any]:
    """Read the engine's HASURA_GRAPHQL_JWT_SECRET. Raises WrongUsage."""
    try:
        configuration = json.loads(text)
    except ValueError as error:
        raise WrongUsage(f"{VARIABLE} is not JSON. Give it the same value as that of the engine.") from error
    if not isinstance(configuration, dict):
        raise WrongUsage(f"{VARIABLE} is not a JSON object. Give it the same value as that of the engine.")
    return configuration
