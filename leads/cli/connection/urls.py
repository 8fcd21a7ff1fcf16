"""The webhook URL of a connection."""

from dataclasses import replace
from typing import Annotated

import typer

from leads.adapters.settings import OperatorSettings, read_operator_settings
from leads.cli.connection.session import NEEDS

PublicUrl = Annotated[
    str | None,
    typer.Option(
        help="Where Pancake reaches the edge, for example https://crm.example.com; else PUBLIC_URL."
    ),
]


def read_settings(public_url: str | None) -> OperatorSettings:
    """Read the variables of a command that prints a webhook URL; the option replaces PUBLIC_URL."""
    if public_url:
        return replace(read_operator_settings(*NEEDS), public_url=public_url)
    return read_operator_settings(*NEEDS, "PUBLIC_URL")


def webhook_url(public_url: str, token: str) -> str:
    """Return the URL to enter in Pancake."""
    return f"{public_url.rstrip('/')}/api/pancake/record/{token}"
