"""The result of a load test as one HTML file: no script, nothing from elsewhere, fit for paper."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ops.html import render_page
from proofs.loadtest.run import MAX_P95_MS
from proofs.loadtest.text import HEADINGS, LEGEND, row
from proofs.plot.draw import draw
from proofs.plot.panels import Limit, Line, TimeSeries
from proofs.plot.units import Unit

TEMPLATE = Path(__file__).with_name("page.html.j2")


def html_page(result: Mapping[str, Any]) -> str:
    """Return the page. Every text in it is escaped."""
    return render_page(
        TEMPLATE, result=result, headings=HEADINGS, rows=[row(step) for step in result["steps"]],
        legend=LEGEND, effects=json.dumps(result["effects"], indent=1),
        pictures=[[Markup(draw(panel)) for panel in _panels(step)] for step in result["steps"]],  # noqa: S704
    )  # fmt: skip


def _panels(step: Mapping[str, Any]) -> list[TimeSeries]:
    since = datetime.fromtimestamp(step["started_at"], UTC)
    until = since + timedelta(seconds=step["seconds"])
    latencies = [
        Line(name, [(_time(each["at"]), each[name] / 1000) for each in step["intervals"]])
        for name in ("p50", "p95", "p99")
    ]
    services = step["samples"].items()
    cores = [Line(name, [(_time(at), each) for at, each, _ in samples]) for name, samples in services]
    memory = [Line(name, [(_time(at), mb * 2**20) for at, _, mb in samples]) for name, samples in services]
    limit = Limit(MAX_P95_MS / 1000, ">=", "bar of p95")
    return [
        TimeSeries(
            title="Answers of the edge", description="Time from when a delivery was due to its answer.",
            unit=Unit.SECONDS, since=since, until=until, lines=latencies,
            step_seconds=step["interval_seconds"],
            limits=[limit] if step["edge_ms"]["max"] and step["edge_ms"]["max"] > MAX_P95_MS / 2 else [],
        ),
        TimeSeries(
            title="CPU", description="CPU of each service, as a share of one core.", unit=Unit.RATIO,
            since=since, until=until, lines=cores, step_seconds=2,
        ),
        TimeSeries(
            title="Memory", description="Memory of each service; what its processes share counts once.",
            unit=Unit.BYTES, since=since, until=until, lines=memory, step_seconds=2,
        ),
    ]  # fmt: skip


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
