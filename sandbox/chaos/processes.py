"""Several processes of the handlers in a chaos run: the option, and what each of them did."""

from typing import Annotated

import httpx
import typer
from prometheus_client.parser import text_string_to_metric_families

from sandbox.stack.stack import Sandbox

ProcessCount = Annotated[
    int, typer.Option(help="How many processes of the handlers run behind the one engine.", min=1, max=8)
]


def events_by_process(sandbox: Sandbox) -> list[int]:
    """Return how many deliveries of events each process of the handlers answered since its start."""
    counts = []
    for process in sandbox.replicas:
        text = httpx.get(f"{process.url}/metrics", timeout=10).raise_for_status().text
        samples = (each for family in text_string_to_metric_families(text) for each in family.samples)
        counts.append(int(sum(each.value for each in samples if each.name == "pancake_events_total")))
    return counts
