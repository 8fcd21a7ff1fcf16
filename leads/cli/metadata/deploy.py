"""The steps: 9a applies everything but cron triggers, 9b the cron triggers; each with a backup and checks."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leads.cli.failures import WrongUsage
from leads.cli.metadata.engine import Engine, MetadataError
from leads.cli.metadata.files import Files
from leads.cli.metadata.normal import same
from leads.cli.metadata.ownership import drift, foreign
from leads.cli.metadata.pieces import CRON, Json, Key, put, split

RENAME_FIRST = "Nothing was changed. Ask its owner to rename it, then run this again."
MAX_EVENTS_WAIT_SECONDS = 90.0
"""The engine creates the events of a new cron trigger within a minute."""

EVENTS_CHECK_INTERVAL_SECONDS = 1


@dataclass(frozen=True)
class Deployment:
    """Our metadata, its engine, and the engine's source that has our tables."""

    engine: Engine
    files: Files
    own: Json
    source: str
    our_source: str = "default"

    def wanted(self, step: str) -> dict[Key, Any]:
        """Return our pieces after a step."""
        pieces = split(self.own, self.our_source)
        return {
            key: piece
            for key, piece in pieces.items()
            if key[0] not in ("source settings", "setting") and (step == "9b" or key[0] != CRON)
        }

    def held(self) -> tuple[Json, int, dict[Key, Any]]:
        """Read the engine's metadata; return it with its version and its pieces. Raises WrongUsage."""
        metadata, version = self.engine.export()
        try:
            return metadata, version, split(metadata, self.source)
        except KeyError as error:
            names = ", ".join(each["name"] for each in metadata.get("sources", [])) or "none"
            raise WrongUsage(
                f"The engine has no source {self.source!r}. Choose one with --source: {names}"
            ) from error

    def back_up(self, step: str) -> Path:
        return self.files.back_up(step, self.engine.export()[0])

    def apply(self, step: str, *, over_drift: bool) -> Path:
        """Apply our pieces of this step; return the path of the backup. Raises MetadataError."""
        metadata, version, held = self.held()
        recorded = self.files.recorded()
        wanted = self.wanted(step)
        self._check_before(step, wanted, held, recorded, over_drift)
        backup = self.files.back_up(step, metadata)
        gone = {key for key in (recorded or {}) if key not in self.wanted("9b") and key in held}
        bad = self.engine.inconsistencies()
        changed = put(metadata, self.source, wanted, gone)
        self.engine.replace(changed, version, allow_inconsistent=bool(bad))
        self._check_others(held, {*wanted, *gone}, backup)
        worse = self.engine.inconsistencies().keys() - bad.keys()
        if worse:
            raise MetadataError(
                f"The step is applied, but now inconsistent: {', '.join(sorted(worse))}. "
                f"Restore with: leads metadata restore --backup {backup}"
            )
        self._record()
        return backup

    def verify(self, step: str, wait_seconds: float = 0.0) -> list[str]:
        """List the problems after a step; wait at most `wait_seconds` for the events of its crons."""
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
            problems += self._find_idle_crons(crons, wait_seconds)
        return problems

    def restore(self, backup: Path) -> None:
        """Restore our pieces from the backup; later changes to other metadata stay. Raises MetadataError."""
        old = split(self.files.read_backup(backup), self.source)
        metadata, version, held = self.held()
        keys = {*self.wanted("9b"), *(self.files.recorded() or {})}
        back = {key: old[key] for key in keys if key in old}
        gone = {key for key in keys if key not in old}
        bad = self.engine.inconsistencies()
        changed = put(metadata, self.source, back, gone)
        self.engine.replace(changed, version, allow_inconsistent=bool(bad))
        self._check_others(held, keys, backup)
        self._record()

    def remove(self, step: str) -> Path:
        """Remove our pieces, those of 9b alone or all; return the path of the backup. Raises MetadataError.

        It does not use backups, because a backup from before an upgrade holds our pieces too.
        """
        metadata, version, held = self.held()
        recorded = self.files.recorded() or {}
        if reasons := foreign(self.wanted("9b"), held, recorded):
            raise MetadataError(f"{'; '.join(reasons)}. {RENAME_FIRST}")
        keys = {*self.wanted("9b"), *recorded}
        gone = {key for key in keys if key in held and (step == "9a" or key[0] == CRON)}
        backup = self.files.back_up(f"remove-{step}", metadata)
        bad = self.engine.inconsistencies()
        self.engine.replace(put(metadata, self.source, {}, gone), version, allow_inconsistent=bool(bad))
        self._check_others(held, gone, backup)
        self._record()
        return backup

    def _check_before(
        self, step: str, wanted: Mapping[Key, Any], held: Mapping[Key, Any],
        recorded: Mapping[Key, Any] | None, over_drift: bool,
    ) -> None:  # fmt: skip
        if reasons := foreign(self.wanted("9b"), held, recorded or {}):
            raise MetadataError(f"{'; '.join(reasons)}. {RENAME_FIRST}")
        known = (
            None if recorded is None else {k: p for k, p in recorded.items() if step == "9b" or k[0] != CRON}
        )
        if (drifted := drift(wanted, held, known)) and not over_drift:
            names = ", ".join(f"{kind} {name}" for kind, name in drifted)
            raise MetadataError(
                f"Changed on the engine since it was applied: {names}. "
                "See the differences with `leads metadata verify`, or overwrite them with --over-drift."
            )
        if step == "9b" and (missing := [key for key in self.wanted("9a") if key not in held]):
            raise MetadataError(
                f"9a must be applied first: {' '.join(missing[0])} is missing. Run: leads metadata 9a"
            )

    def _check_others(self, before: Mapping[Key, Any], own_keys: set[Key], backup: Path) -> None:
        _, _, after = self.held()
        touched = [
            f"{key[0]} {key[1]}"
            for key in {*before, *after} - own_keys
            if key not in after or key not in before or before[key] != after[key]
        ]
        if touched:
            raise MetadataError(
                f"The change is applied, but other metadata changed too: {', '.join(sorted(touched))}. "
                f"The state before is in {backup}"
            )

    def _record(self) -> None:
        _, _, held = self.held()
        self.files.record({key: held[key] for key in self.wanted("9b") if key in held})

    def _find_idle_crons(self, crons: list[str], wait_seconds: float) -> list[str]:
        deadline = time.monotonic() + wait_seconds
        while True:
            idle = [name for name, count in self.engine.future_events(crons).items() if count == 0]
            if not idle or time.monotonic() > deadline:
                return [f"cron trigger {name} has no scheduled event" for name in idle]
            time.sleep(EVENTS_CHECK_INTERVAL_SECONDS)
