"""`scripts/token`: the JWT that the handlers or the edge show to Hasura.

Facts: the claims and the variable HASURA_GRAPHQL_JWT_SECRET,
https://hasura.io/docs/2.0/auth/authentication/jwt/.
"""

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import jwt
import typer

VARIABLE = "HASURA_GRAPHQL_JWT_SECRET"
NAMESPACE = "https://hasura.io/jwt/claims"
WITH_ONE_KEY = ("HS256", "HS384", "HS512")
WITH_A_PAIR = {"RS256": "RS256", "RS384": "RS384", "RS512": "RS512", "Ed25519": "EdDSA"}


class Role(StrEnum):
    """Whom a token is for: the handlers, or the edge."""

    SERVICE = "pancake_service"
    EDGE = "pancake_edge"


class TokenRefused(ValueError):
    """No token can be made; the message says why."""


app = typer.Typer(add_completion=False)


@app.command()
def main(
    role: Annotated[
        Role, typer.Argument(help="pancake_service for the handlers, pancake_edge for the edge.")
    ],
    private_key: Annotated[
        Path | None, typer.Option(help="PEM file of the key that signs, if the engine has a public key.")
    ] = None,
) -> None:
    """Print a token of one role, without an end, for the engine whose HASURA_GRAPHQL_JWT_SECRET is given.

    Exit code 2: the variable is missing or names no key that can sign.
    """
    try:
        token = make_token(role, _configuration(), private_key)
    except (TokenRefused, jwt.PyJWTError, OSError, ValueError, TypeError) as error:
        typer.echo(f"No token was made: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(token)


def make_token(role: Role, configuration: dict[str, Any], private_key: Path | None = None) -> str:
    """A token that an engine with this configuration accepts. Raises TokenRefused."""
    claims: Any = {"x-hasura-default-role": role.value, "x-hasura-allowed-roles": [role.value]}
    if configuration.get("claims_format") == "stringified_json":
        claims = json.dumps(claims)
    payload = {configuration.get("claims_namespace", NAMESPACE): claims}
    if (audience := configuration.get("audience")) is not None:
        payload["aud"] = audience
    if (issuer := configuration.get("issuer")) is not None:
        payload["iss"] = issuer
    algorithm, key = _signing(configuration, private_key)
    return jwt.encode(payload, key, algorithm=algorithm)


def _signing(configuration: dict[str, Any], private_key: Path | None) -> tuple[str, str]:
    kind = str(configuration.get("type"))
    for key in ("claims_map", "claims_namespace_path"):
        if key in configuration:
            raise TokenRefused(f"{VARIABLE} has {key}: let whoever issues its tokens make this one")
    if kind in WITH_ONE_KEY and configuration.get("key"):
        return kind, str(configuration["key"])
    if kind in WITH_A_PAIR and private_key is not None:
        return WITH_A_PAIR[kind], private_key.read_text()
    if kind in WITH_A_PAIR:
        raise TokenRefused(f"{VARIABLE} holds a public key: give --private-key")
    raise TokenRefused(f"{VARIABLE} names no key that can sign: let whoever issues its tokens make this one")


def _configuration() -> dict[str, Any]:
    try:
        configuration = json.loads(os.environ.get(VARIABLE, ""))
    except ValueError as error:
        raise TokenRefused(f"{VARIABLE} is not set, or is no JSON") from error
    if not isinstance(configuration, dict):
        raise TokenRefused(f"{VARIABLE} is no JSON object")
    return configuration


if __name__ == "__main__":
    app(prog_name="scripts/token")
