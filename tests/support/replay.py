"""Evaluate the rules over recorded times, and the table of docs/alerts.md that shows the results."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.incidents.catalogue import INCIDENTS
from sandbox.incidents.replay.evaluation import replay
from sandbox.incidents.replay.firing import Firing, sent
from sandbox.incidents.replay.recording import Recording, Scenario
from sandbox.incidents.rules import WATCHDOG, inhibitions

PAGE = Path(__file__).parents[2] / "docs" / "alerts.md"
HEAD = "| incident | alerts that are sent | alerts that fire and are silenced |\n|---|---|---|\n"


@dataclass(frozen=True)
class Raised:
    """The alerts of a time, without the Watchdog."""

    sent: frozenset[str]
    silenced: frozenset[str]
    has_watchdog: bool


def evaluate(scenarios: Sequence[Scenario], folder: Path) -> dict[str, Raised]:
    """Return what each scenario raises, by its name."""
    recordings = [Recording(scenario) for scenario in scenarios]
    with replay(recordings, folder) as loaded:
        return {scenario.name: _raised(loaded.firings(scenario)) for scenario in scenarios}


def _raised(firings: Sequence[Firing]) -> Raised:
    names = {firing.name for firing in firings}
    reached = sent(firings, inhibitions())
    return Raised(frozenset(reached - {WATCHDOG}), frozenset(names - reached), WATCHDOG in reached)


def table(found: Mapping[str, Raised]) -> str:
    """Return the table of all incidents."""
    rows = [
        f"| {incident.title} | {_listed(found[name].sent)} | {_listed(found[name].silenced)} |\n"
        for name, incident in INCIDENTS.items()
    ]
    return HEAD + "".join(rows)


def documented() -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """Return the table of the page: sent and silenced alerts by title."""
    rows = re.findall(
        r"^\| (.+) \| (.*) \| (.*) \|$", PAGE.read_text().partition(HEAD)[2].partition("\n\n")[0], re.M
    )
    return {title: (_read(first), _read(second)) for title, first, second in rows}


def write(found: Mapping[str, Raised]) -> None:
    """Replace the table of the page."""
    before, _, rest = PAGE.read_text().partition(HEAD)
    PAGE.write_text(before + table(found) + "\n" + rest.partition("\n\n")[2])


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _read(cell: str) -> frozenset[str]:
    return frozenset() if cell == "none" else frozenset(cell.split(", "))
