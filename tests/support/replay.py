"""Evaluate the rules over recorded times, and the tables of docs/alerts.md that show the results."""

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
HEAD_OF_FEW = HEAD.replace("incident", "incident at 5 leads an hour")


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


def documented(head: str = HEAD) -> dict[str, Raised]:
    """Return the table of the page with this head, by the titles of the incidents."""
    text = PAGE.read_text().partition(head)[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (.+) \| (.*) \| (.*) \|$", text, re.M)
    return {title: Raised(_read(sent), _read(silenced), has_watchdog=True) for title, sent, silenced in rows}


def write(found: Mapping[str, Raised], head: str = HEAD) -> None:
    """Replace the table of the page with this head."""
    before, _, rest = PAGE.read_text().partition(head)
    rows = [
        f"| {incident.title} | {_listed(found[name].sent)} | {_listed(found[name].silenced)} |\n"
        for name, incident in INCIDENTS.items()
    ]
    PAGE.write_text(before + head + "".join(rows) + "\n" + rest.partition("\n\n")[2])


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _read(cell: str) -> frozenset[str]:
    return frozenset() if cell == "none" else frozenset(cell.split(", "))
