"""The webhook URL of a connection, and the base URL of Pancake's API."""

from dataclasses import replace
from typing import Annotated

import typer

from leads.domain.hosts import host_of
from ops.connection.session import NEEDS
from ops.failures import WrongUsage
from ops.settings import OperatorSettings, check_url, read_operator_settings

EXAMPLE = "https://crm.pancake.vn/api"
PublicUrl = Annotated[
    str | None,
    typer.Option(
        help="Where Pancake reaches the edge, for example https://crm.example.com; else PUBLIC_URL."
    ),
]


def read_settings(public_url: str | None) -> OperatorSettings:
    """Read the variables of a command that prints a webhook URL; the option replaces PUBLIC_URL."""
    if public_url:
        check_url("--public-url", "edge", public_url)
        return replace(read_operator_settings(*NEEDS), public_url=public_url)
    return read_operator_settings(*NEEDS, "PUBLIC_URL")


def webhook_url(public_url: str, token: str) -> str:
    """Return the URL to enter in Pancake."""
    return f"{public_url.rstrip('/')}/api/pancake/record/{token}"


def check_api_url(url: str, settings: OperatorSettings) -> None:
    """Raise WrongUsage unless it is a base URL to which the API key may be sent."""
    host = host_of(url)
    if host is None:
        raise WrongUsage(f"{url!r} is not a base URL. Give scheme, host and path, for example {EXAMPLE}")
    if host not in settings.pancake_api_hosts:
        raise WrongUsage(
            f"{host} is not in PANCAKE_API_HOSTS. Add it there, in the environment of the handlers too."
        )
