"""The steps: 9a applies everything but cron triggers, 9b the cron triggers; each with a backup and checks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.failures import WrongUsage
from ops.metadata.changes import Change, find_changes
from ops.metadata.checks import (
    find_differences,
    find_idle_crons,
    find_inconsistencies,
    find_stopped_calls,
)
from ops.metadata.engine import Engine, MetadataError
from ops.metadata.files import Files
from ops.metadata.ownership import drift, foreign
from ops.metadata.permission import (
    ACTION,
    OF_DIVA,
    PERMISSION,
    ROLE,
    find_missing_permission,
    is_allowed,
)
from ops.metadata.pieces import CRON, Json, Key, put, split
from ops.metadata.preflight import Check, describe_allow_list, obstacle_checks
from ops.metadata.probe import Probe, deliver_probe
from ops.metadata.source import find_missing_triggers

RENAME_FIRST = "Nothing was changed. Ask its owner to rename it, then run this again."
MAX_EVENTS_WAIT_SECONDS = 90.0
"""The engine creates the events of a new cron trigger within a minute."""


@dataclass(frozen=True)
class Deployment:
    """Our metadata, its engine, and the engine's source that has our tables."""

    engine: Engine
    files: Files
    own: Json
    source: str
    our_source: str = "default"
    accepted_engine: str = ""

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
            names = ", ".join(each["name"] for each in metadata.get("sources", []))
            if not names:
                raise WrongUsage(
                    "The engine has no source: its metadata was cleared. Apply Diva's metadata first, which "
                    "has the source and Diva's tables, then run this again."
                ) from error
            raise WrongUsage(
                f"The engine has no source {self.source!r}. Choose one with --source: {names}"
            ) from error

    def back_up(self, step: str) -> Path:
        return self.files.back_up(step, self.engine.export()[0])

    def changes(self, step: str) -> list[Change]:
        """List what a step changes of the engine's metadata. Raises MetadataError."""
        _, _, held = self.held()
        changes = find_changes(self.wanted(step), held, self._former(held))
        if OF_DIVA in held and not is_allowed(held):
            changes.append(Change(PERMISSION, None, ROLE))
        return changes

    def describe_allow_list(self, step: str) -> str:
        """Say that the allow list is on and a step adds our entries; empty otherwise."""
        return describe_allow_list(self.engine, self.wanted(step), self.held()[2])

    def check_before(self, step: str, *, over_drift: bool) -> None:
        """Check everything that can be checked before this step. Raises MetadataError."""
        _, _, held = self.held()
        self._check_pieces(step, self.wanted(step), held, self.files.recorded(), over_drift)
        if obstacles := self.find_obstacles(step):
            raise MetadataError("\n".join(["Nothing was changed. On this engine:", *obstacles]))

    def apply(self, step: str, *, over_drift: bool) -> Path:
        """Apply our pieces of this step; return the path of the backup. Raises MetadataError."""
        self.check_before(step, over_drift=over_drift)
        metadata, version, held = self.held()
        wanted = self.wanted(step)
        backup = self.files.back_up(step, metadata)
        gone = self._former(held)
        bad = self.engine.inconsistencies()
        changed = put(metadata, self.source, wanted, gone)
        self.engine.replace(changed, version, allow_inconsistent=bool(bad))
        self._check_others(held, {*wanted, *gone}, backup)
        self._allow_notifications(held)
        worse = self.engine.inconsistencies().keys() - bad.keys()
        if worse:
            raise MetadataError(
                f"The step is applied, but now inconsistent: {', '.join(sorted(worse))}. "
                f"Restore with: leads metadata restore --backup {backup}"
            )
        self._record()
        return backup

    def obstacle_checks(self, step: str) -> Mapping[str, Check]:
        """Return the checks, by name, of what would keep our metadata from working on this engine."""
        metadata, _, held = self.held()
        return obstacle_checks(
            self.engine, metadata, self.source, self.wanted(step), held, self.accepted_engine
        )

    def find_obstacles(self, step: str) -> list[str]:
        """List what would keep our metadata from working on this engine; nothing is changed."""
        return [obstacle for check in self.obstacle_checks(step).values() for obstacle in check()]

    def verify(self, step: str, wait_seconds: float = 0.0) -> list[str]:
        """List the problems after a step; wait at most `wait_seconds` for the events of its crons."""
        _, _, held = self.held()
        problems = find_differences(self.wanted(step), held)
        problems += find_missing_permission(held)
        problems += find_stopped_calls(self.engine, self.wanted(step), held)
        problems += find_inconsistencies(self.engine)
        present = {key: held[key] for key in self.wanted(step) if key in held}
        problems += find_missing_triggers(self.engine, self.source, present)
        if step == "9b":
            crons = [name for kind, name in present if kind == CRON]
            problems += find_idle_crons(self.engine, crons, wait_seconds)
        return problems

    def deliver_probe(self, wait_seconds: float) -> Probe:
        """Deliver a probe event to the handlers, and wait for their answer. Raises MetadataError."""
        return deliver_probe(self.engine, self.source, self.wanted("9a"), wait_seconds)

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
        if not is_allowed(old):
            self._forbid_notifications()
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
        if step == "9a":
            self._forbid_notifications()
        self._record()
        return backup

    def _former(self, held: Mapping[Key, Any]) -> set[Key]:
        """Return the pieces that we applied before and that are in our directory no more."""
        return {key for key in self.files.recorded() or {} if key in held and key not in self.wanted("9b")}

    def _check_pieces(
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
                "See the differences with `leads metadata diff`, or overwrite them with --over-drift."
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

    def _allow_notifications(self, held: Mapping[Key, Any]) -> None:
        """Allow the handlers to send notifications, and remember that it was we who did."""
        if OF_DIVA in held and not is_allowed(held):
            self.engine.set_permission(ACTION, ROLE, is_allowed=True)
            self._record(has_given_permission=True)

    def _forbid_notifications(self) -> None:
        """Take back the permission, if we gave it; one that Diva gave stays."""
        if PERMISSION in (self.files.recorded() or {}) and is_allowed(self.held()[2]):
            self.engine.set_permission(ACTION, ROLE, is_allowed=False)

    def _record(self, *, has_given_permission: bool = False) -> None:
        _, _, held = self.held()
        pieces = {key: held[key] for key in self.wanted("9b") if key in held}
        was_given = has_given_permission or PERMISSION in (self.files.recorded() or {})
        if was_given and is_allowed(held):
            pieces[PERMISSION] = ROLE
        self.files.record(pieces)
