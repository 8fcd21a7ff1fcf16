"""The result of a load test as one HTML file: no script, nothing from elsewhere, fit for paper."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any

from proofs.loadtest.run import MAX_P95_MS
from proofs.loadtest.text import HEADINGS, LEGEND, row
from proofs.plot.draw import draw
from proofs.plot.panels import Limit, Line, TimeSeries
from proofs.plot.units import Unit

STYLE = """
body { margin: 0 auto; max-width: 46rem; padding: 1rem; font: 16px/1.45 system-ui, sans-serif;
    background: #fff; color: #111 }
h1 { font-size: 1.4rem } h2 { font-size: 1.15rem; margin-top: 2rem }
h1, p { overflow-wrap: anywhere }
div { overflow-x: auto }
table { border-collapse: collapse; font-size: .85rem }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid #ccc; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
svg { max-width: 100%; height: auto }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .8rem }
@media print { section { break-inside: avoid } }
"""


def html_page(result: Mapping[str, Any]) -> str:
    """Return the page. Every text in it is escaped."""
    verdict = "Passed" if result["ok"] else "Failed"
    leads = sum(step["leads"] for step in result["steps"])
    problems = ", ".join(f"{len(result[name])} {name}" for name in ("lost", "duplicated", "unexpected"))
    machine = result["machine"]
    rows = "".join(_table_row("td", row(step)) for step in result["steps"])
    sizes = "".join(
        _table_row("td", (name, f"{size / 2**20:,.1f} MiB")) for name, size in result["table_bytes"].items()
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Load test {escape(result["started_at"])}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{verdict}: {leads:,} leads, {escape(problems)}</h1>
<p>Commit {escape(result["commit"])}, {escape(result["started_at"])}. {escape(str(machine["cpu"]))},
{machine["cores"]} cores, PostgreSQL {escape(machine["postgres"])}, Python {escape(machine["python"])}.
The whole sandbox ran on this machine, with the sender and the stand-in for Hasura.</p>
<div><table>
<thead>{_table_row("th", HEADINGS)}</thead>
<tbody>{rows}</tbody>
</table></div>
<p>{LEGEND}</p>
{"".join(_section(step) for step in result["steps"])}
<section><h2>Sizes of the tables at the end</h2>
<div><table>{sizes}</table></div>
</section>
<section><h2>What was counted</h2>
<pre>{escape(json.dumps(result["effects"], indent=1))}</pre></section>
</body>
</html>
"""


def _table_row(tag: str, cells: Iterator[str] | list[str] | tuple[str, ...]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>\n"


def _section(step: Mapping[str, Any]) -> str:
    per_lead = ", ".join(f"{name} {value}" for name, value in step["cpu_ms_per_lead"].items())
    busiest = step["busiest"]
    facts = (
        f"{step['leads']:,} leads in {step['versions']:,} versions; {step['delivered']:,} deliveries were "
        f"answered with 2xx, {step['unpunctual']:,} were posted more than 10 ms after they were due.",
        f"CPU in ms for each lead: {per_lead}. The busiest service was {busiest}, "
        f"with {100 * step['cores'][busiest]:.0f} % of one core.",
        f"Write-ahead log: {step['wal_bytes_per_lead'] / 1024:.1f} KiB for each lead.",
    )
    title = f"{step['offered_per_second']:g} deliveries per second for {step['seconds']:g} s"
    panels = "".join(f"<p>{draw(panel)}</p>" for panel in _panels(step))
    return f"<section><h2>{title}</h2>\n<p>{escape(' '.join(facts))}</p>\n{panels}</section>\n"


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
