"""Several processes of the handlers in a chaos run: the option, and what each of them did."""

from typing import Annotated

import typer

from sandbox.metrics_text import scrape
from sandbox.stack.stack import Sandbox

ProcessCount = Annotated[
    int, typer.Option(help="How many processes of the handlers run behind the one engine.", min=1, max=8)
]


def events_by_process(sandbox: Sandbox) -> list[int]:
    """Return how many deliveries of events each process of the handlers answered since its start."""
    return [
        int(sum(each.value for each in scrape(process.url) if each.name == "pancake_events_total"))
        for process in sandbox.replicas
    ]
