"""The incidents of incidents.yaml."""

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

    @property
    def first(self) -> str:
        """The alert that tells of it at 5 leads an hour."""
        return f"Pancake{self.page or self.channel}"


def _read(fields: dict[str, Any]) -> Incident:
    after = frozenset(f"Pancake{name}" for name in fields.pop("after", ()))
    sent = after | {f"Pancake{name}" for name in fields.pop("sent", ())}
    # What a live one sends, if that differs: it begins with a restart, and its leads wait for seconds only.
    live = frozenset(f"Pancake{name}" for name in fields.pop("live", ())) or sent
    kinds = {"scheduled_crons": frozenset, "failing_crons": frozenset, "handlers_up": tuple}
    changes = {name: kinds.get(name, lambda it: it)(value) for name, value in fields.pop("changes").items()}
    return Incident(sent=sent, after=after & live, live=live, changes=changes, **fields)


_SOURCE = Path(__file__).with_name("incidents.yaml")
ALL = {name: _read(fields) for name, fields in yaml.safe_load(_SOURCE.read_text("utf-8")).items()}
INCIDENTS = {name: each for name, each in ALL.items() if each.sent}
"""Those that are made live too."""
