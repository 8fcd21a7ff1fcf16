"""`scripts/sandbox secrets`: new secrets for compose.yaml."""

from secrets import token_hex

import typer

from sandbox.edge.nginx import state_key
from sandbox.stack.keys import Keys


def secrets() -> None:
    """Print new secrets for compose.yaml: `(umask 077; scripts/sandbox secrets > .env)`."""
    typer.echo("".join(f"{name}='{value}'\n" for name, value in new_secrets().items()), nl=False)


def new_secrets() -> dict[str, str]:
    """Return new values for the variables of compose.yaml."""
    keys = Keys.generate()
    return {
        "POSTGRES_PASSWORD": token_hex(16),
        "HANDLERS_PASSWORD": token_hex(16),
        "OPERATORS_PASSWORD": token_hex(16),
        "HASURA_GRAPHQL_ADMIN_SECRET": keys.admin_secret,
        "HASURA_GRAPHQL_JWT_SECRET": keys.jwt_secret,
        "HASURA_SERVICE_TOKEN": keys.token("pancake_service"),
        "HASURA_EDGE_TOKEN": keys.token("pancake_edge"),
        "HANDLER_SECRET": keys.handler_secret,
        "EDGE_SECRET": keys.edge_secret,
        "ENCRYPTION_KEYS": keys.encryption_keys,
        "EDGE_STATE_KEYS": state_key(),
        "WEBHOOK_TOKEN": keys.webhook_token,
        "WEBHOOK_HEADER_SECRET": keys.header_secret,
        "PANCAKE_API_KEY": keys.pancake_api_key,
    }
