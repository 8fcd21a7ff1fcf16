"""The secrets of one sandbox, new at each start, and the JWTs signed with them."""

import base64
import json
import secrets
import time
from dataclasses import asdict, dataclass, field
from typing import Self

import jwt

from sandbox.edge import state_key
from sandbox.processes import hand_over_secrets

CLAIMS = "https://hasura.io/jwt/claims"


@dataclass(frozen=True)
class Keys:
    """The secrets with which the services of a sandbox authenticate each other."""

    admin_secret: str = field(repr=False)
    jwt_key: str = field(repr=False)
    handler_secret: str = field(repr=False)
    edge_secret: str = field(repr=False)
    encryption_keys: str = field(repr=False)
    webhook_token: str = field(repr=False)
    header_secret: str = field(repr=False)
    pancake_api_key: str = field(repr=False)

    @classmethod
    def generate(cls) -> Self:
        """Return new random secrets, and hand them over. Pancake's API keys are 32 hex digits too."""
        keys = cls(
            admin_secret=secrets.token_urlsafe(24),
            jwt_key=secrets.token_urlsafe(48),
            handler_secret=secrets.token_urlsafe(24),
            edge_secret=secrets.token_urlsafe(24),
            encryption_keys=f"sandbox:{base64.b64encode(secrets.token_bytes(32)).decode()}",
            webhook_token=secrets.token_urlsafe(24),
            header_secret=secrets.token_urlsafe(24),
            pancake_api_key=secrets.token_hex(16),
        )
        hand_over_secrets(asdict(keys))
        return keys

    @property
    def jwt_secret(self) -> str:
        return json.dumps({"type": "HS256", "key": self.jwt_key})

    def token(self, role: str, user_id: str | None = None, *, days: int | None = None) -> str:
        """Return a JWT of a role, optionally of one staff member; without `days` it does not expire."""
        claims = {"x-hasura-default-role": role, "x-hasura-allowed-roles": [role]}
        if user_id is not None:
            claims["x-hasura-user-id"] = user_id
        ends = {} if days is None else {"exp": int(time.time()) + days * 86_400}
        return jwt.encode({CLAIMS: claims, **ends}, self.jwt_key, algorithm="HS256")


TOKEN_DAYS = 90
"""As those of `leads token`."""


def new_secrets() -> dict[str, str]:
    """Return new values for the variables of compose.yaml."""
    keys = Keys.generate()
    return {
        "POSTGRES_PASSWORD": secrets.token_hex(16),
        "HANDLERS_PASSWORD": secrets.token_hex(16),
        "OPERATORS_PASSWORD": secrets.token_hex(16),
        "HASURA_GRAPHQL_ADMIN_SECRET": keys.admin_secret,
        "HASURA_GRAPHQL_JWT_SECRET": keys.jwt_secret,
        "HASURA_SERVICE_TOKEN": keys.token("pancake_service", days=TOKEN_DAYS),
        "HASURA_EDGE_TOKEN": keys.token("pancake_edge", days=TOKEN_DAYS),
        "HANDLER_SECRET": keys.handler_secret,
        "EDGE_SECRET": keys.edge_secret,
        "ENCRYPTION_KEYS": keys.encryption_keys,
        "EDGE_STATE_KEYS": state_key(),
        "WEBHOOK_TOKEN": keys.webhook_token,
        "WEBHOOK_HEADER_SECRET": keys.header_secret,
        "PANCAKE_API_KEY": keys.pancake_api_key,
    }
