"""The webhook URL of a connection."""

from typing import Annotated

import typer

PublicUrl = Annotated[
    str,
    typer.Option(
        envvar="PUBLIC_URL", help="Where Pancake reaches the edge, for example https://crm.example.com."
    ),
]


def webhook_url(public_url: str, token: str) -> str:
    """The URL that is entered in Pancake."""
    return f"{public_url.rstrip('/')}/api/pancake/record/{token}"
