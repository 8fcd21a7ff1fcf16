"""The incidents of incidents.yaml: replayed as series into a real Prometheus, and made live in a sandbox.

`recording` writes what Prometheus would have scraped, by `model` and `series`, and evaluates the rules of
deploy/prometheus over it. `live` breaks a sandbox and waits for the alerts.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Incident:
    """What happens, which alerts are sent, and which of these come after it; incidents.yaml says more."""

    title: str
    minutes: int
    sent: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()
    changes: dict[str, Any] = field(default_factory=dict)
    leads_per_second: float = 2.0
    hold_seconds: float = 10.0
    page: str = ""
    channel: str = ""
    live: frozenset[str] = frozenset()
    factor: float = 60.0
    """The highest factor by which its times are divided when it is made live."""

    @property
    def first(self) -> str:
        """The alert that tells of it at 5 leads an hour."""
        return f"Pancake{self.page or self.channel}"


def _read(fields: dict[str, Any]) -> Incident:
    after, sent, live = (
        frozenset(f"Pancake{name}" for name in fields.pop(field, ())) for field in ("after", "sent", "live")
    )
    sent = sent and sent | after
    live = live or sent
    kinds = {"scheduled_crons": frozenset, "failing_crons": frozenset, "handlers_up": tuple}
    changes = {name: kinds.get(name, lambda it: it)(value) for name, value in fields.pop("changes").items()}
    return Incident(sent=sent, after=after & live, live=live, changes=changes, **fields)


_SOURCE = Path(__file__).with_name("incidents.yaml")
ALL = {name: _read(fields) for name, fields in yaml.safe_load(_SOURCE.read_text("utf-8")).items()}
INCIDENTS = {name: each for name, each in ALL.items() if each.sent}
"""Those that are replayed with many leads too."""
LIVE = {name: each for name, each in ALL.items() if each.live}
"""Those that are made live too."""
