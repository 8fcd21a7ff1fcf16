"""The steps: 9a puts everything but cron triggers, 9b those; each with a backup, a check before and after."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.metadata.engine import Engine, MetadataError
from scripts.metadata.files import Files
from scripts.metadata.normal import same
from scripts.metadata.ownership import drift, foreign
from scripts.metadata.pieces import CRON, Json, Key, put, split

STEPS = ("9a", "9b")
EVENTS_SECONDS = 90.0
"""The engine makes the events of a new cron trigger within a minute."""


@dataclass(frozen=True)
class Deployment:
    """Our metadata, the engine it goes to and the source there that our tables are in."""

    engine: Engine
    files: Files
    ours: Json
    source: str
    our_source: str = "default"

    def wanted(self, step: str) -> dict[Key, Any]:
        """Our pieces as of a step."""
        pieces = split(self.ours, self.our_source)
        return {
            key: piece
            for key, piece in pieces.items()
            if key[0] not in ("source settings", "setting") and (step == "9b" or key[0] != CRON)
        }

    def held(self) -> tuple[Json, int, dict[Key, Any]]:
        """What the engine holds: whole, its version, in pieces."""
        metadata, version = self.engine.export()
        try:
            return metadata, version, split(metadata, self.source)
        except KeyError as error:
            names = ", ".join(each["name"] for each in metadata.get("sources", [])) or "none"
            raise MetadataError(
                f"the engine has no source {self.source}; it has: {names}. Give --source"
            ) from error

    def back_up(self, step: str) -> Path:
        return self.files.back_up(step, self.engine.export()[0])

    def apply(self, step: str, *, over_drift: bool) -> Path:
        """Put our pieces of this step in; returns the backup. Raises MetadataError."""
        metadata, version, held = self.held()
        recorded = self.files.recorded()
        wanted = self.wanted(step)
        self._check_before(step, wanted, held, recorded, over_drift)
        backup = self.files.back_up(step, metadata)
        gone = {key for key in (recorded or {}) if key not in self.wanted("9b") and key in held}
        bad = self.engine.inconsistencies()
        changed = put(metadata, self.source, wanted, gone)
        self.engine.replace(changed, version, inconsistent=bool(bad))
        self._check_others(held, {*wanted, *gone}, backup)
        worse = self.engine.inconsistencies().keys() - bad.keys()
        if worse:
            raise MetadataError(
                f"applied, but now inconsistent: {', '.join(sorted(worse))}. "
                f"Restore with: scripts/deploy_metadata restore --backup {backup}"
            )
        self._record()
        return backup

    def verify(self, step: str, wait_seconds: float = 0.0) -> list[str]:
        """What is not as it should be after a step; empty if all is."""
        _, _, held = self.held()
        problems = [
            f"{kind} {name} {'differs' if (kind, name) in held else 'is missing'}"
            for (kind, name), piece in self.wanted(step).items()
            if (kind, name) not in held or not same(piece, held[kind, name])
        ]
        problems += [
            f"inconsistent: {name} ({reason})" for name, reason in self.engine.inconsistencies().items()
        ]
        if step == "9b":
            crons = [name for kind, name in self.wanted("9b") if kind == CRON and (kind, name) in held]
            problems += self._without_events(crons, wait_seconds)
        return problems

    def restore(self, backup: Path) -> None:
        """Put our pieces back as they were in the backup; what others changed meanwhile stays."""
        old = split(self.files.read_backup(backup), self.source)
        metadata, version, held = self.held()
        keys = {*self.wanted("9b"), *(self.files.recorded() or {})}
        back = {key: old[key] for key in keys if key in old}
        gone = {key for key in keys if key not in old}
        bad = self.engine.inconsistencies()
        changed = put(metadata, self.source, back, gone)
        self.engine.replace(changed, version, inconsistent=bool(bad))
        self._check_others(held, keys, backup)
        self._record()

    def remove(self, step: str) -> Path:
        """Take our pieces out, those of 9b alone or all; returns the backup. Raises MetadataError.

        A backup taken before a step may hold us already, from the time before an upgrade: going by what we
        want and what we recorded leaves nothing.
        """
        metadata, version, held = self.held()
        recorded = self.files.recorded() or {}
        if reasons := foreign(self.wanted("9b"), held, recorded):
            raise MetadataError("; ".join(reasons))
        ours = {*self.wanted("9b"), *recorded}
        gone = {key for key in ours if key in held and (step == "9a" or key[0] == CRON)}
        backup = self.files.back_up(f"remove-{step}", metadata)
        bad = self.engine.inconsistencies()
        self.engine.replace(put(metadata, self.source, {}, gone), version, inconsistent=bool(bad))
        self._check_others(held, gone, backup)
        self._record()
        return backup

    def _check_before(
        self, step: str, wanted: Mapping[Key, Any], held: Mapping[Key, Any],
        recorded: Mapping[Key, Any] | None, over_drift: bool,
    ) -> None:  # fmt: skip
        if reasons := foreign(self.wanted("9b"), held, recorded or {}):
            raise MetadataError("; ".join(reasons))
        known = (
            None if recorded is None else {k: p for k, p in recorded.items() if step == "9b" or k[0] != CRON}
        )
        if (drifted := drift(wanted, held, known)) and not over_drift:
            names = ", ".join(f"{kind} {name}" for kind, name in drifted)
            raise MetadataError(
                f"changed on the engine since we applied it: {names}. Look with verify, or give --over-drift"
            )
        if step == "9b" and (missing := [key for key in self.wanted("9a") if key not in held]):
            raise MetadataError(f"9a comes first: {missing[0][0]} {missing[0][1]} is not there")

    def _check_others(self, before: Mapping[Key, Any], ours: set[Key], backup: Path) -> None:
        _, _, after = self.held()
        touched = [
            f"{key[0]} {key[1]}"
            for key in {*before, *after} - ours
            if key not in after or key not in before or before[key] != after[key]
        ]
        if touched:
            raise MetadataError(
                f"applied, but others' metadata is not what it was: {', '.join(sorted(touched))}. "
                f"The backup is {backup}"
            )

    def _record(self) -> None:
        _, _, held = self.held()
        self.files.record({key: held[key] for key in self.wanted("9b") if key in held})

    def _without_events(self, crons: list[str], wait_seconds: float) -> list[str]:
        deadline = time.monotonic() + wait_seconds
        while True:
            idle = [name for name, count in self.engine.future_events(crons).items() if count == 0]
            if not idle or time.monotonic() > deadline:
                return [f"cron trigger {name} has no event before it" for name in idle]
            time.sleep(1)
