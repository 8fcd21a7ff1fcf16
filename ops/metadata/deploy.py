"""The steps: 9a applies everything but cron triggers, 9b the cron triggers; each with a backup and checks."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ops.checks.engine import Metadata, export
from ops.checks.model import Asked, Level, Result, When, not_green
from ops.checks.screen import describe
from ops.checks.services import Services
from ops.checks.table import BY_ID, look_at, select
from ops.clients.hasura_admin import TIMEOUT_SECONDS, Engine, RequestRefused
from ops.failures import CommandFailed, WrongUsage, file_reason
from ops.files import digest_of, write_file
from ops.metadata.directory import DIRECTORY, DirectoryError, read_directory
from ops.metadata.pieces import (
    ACTION,
    CRON,
    OF_DIVA,
    PERMISSION,
    ROLE,
    Change,
    Json,
    Key,
    differing,
    drift,
    find_changes,
    foreign,
    is_allowed,
    pieces_of_step,
    put,
    same,
    split,
)
from ops.output import say
from ops.settings import read_operator_settings
from ops.waiting import poll

RENAME_FIRST = "Nothing was changed. Ask its owner to rename it, then run this again."
MAX_EVENTS_WAIT_SECONDS = 90.0
"""The engine creates the events of a new cron trigger within a minute."""
EVENTS_CHECK_INTERVAL_SECONDS = 1

BACKUPS = Path("metadata-backups")

Folder = Annotated[
    Path, typer.Option("--backups", help="Folder of backups and of the record of what is applied.")
]


class Step(StrEnum):
    BEFORE_SERVICES = "9a"
    AFTER_SERVICES = "9b"


class Files:
    """The files of one engine, with a hash of its URL in their names; only their owner may read them."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._engine_hash = digest_of(url.encode())[:12]
        self._url = url

    def back_up(self, step: str, metadata: Json) -> Path:
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        path = self._folder / f"{moment}-{self._engine_hash}-{step}.json"
        self._write(path, {"url": self._url, "step": step, "metadata": metadata})
        return path

    def newest_backup(self, step: str | None) -> Path:
        """Find the newest backup, or the newest from before that step. Raises CommandFailed."""
        found = sorted(self._folder.glob(f"*Z-{self._engine_hash}-{step or '*'}.json"))
        if not found:
            raise CommandFailed(
                f"{self._folder} has no backup {f'of step {step} ' if step else ''}of {self._url}. "
                "Give one with --backup."
            )
        return found[-1]

    def read_backup(self, path: Path) -> Json:
        """Return the metadata in a backup. Raises CommandFailed for another file or engine."""
        try:
            content = json.loads(path.read_text())
            url, metadata = content["url"], content["metadata"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CommandFailed(
                f"{path} is not a backup: {file_reason(error)}. Give another with --backup."
            ) from error
        if url != self._url:
            raise CommandFailed(
                f"{path} is a backup of {url}, not of {self._url}. Give another with --backup."
            )
        return metadata  # type: ignore[no-any-return]

    def record(self, pieces: Mapping[Key, Any]) -> None:
        """Record our pieces that the engine holds after a change."""
        self._write(self._record_path, [[*key, piece] for key, piece in pieces.items()])

    def recorded(self) -> dict[Key, Any] | None:
        """Return the pieces that were applied last; None if this folder has no record."""
        try:
            return {(kind, name): piece for kind, name, piece in json.loads(self._record_path.read_text())}
        except FileNotFoundError:
            return None

    @property
    def _record_path(self) -> Path:
        return self._folder / f"applied-{self._engine_hash}.json"

    def _write(self, path: Path, content: Any) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_file(path, json.dumps(content, ensure_ascii=False, indent=1))


@dataclass(frozen=True)
class Deployment:
    """Our metadata, its engine, and the engine's source that has our tables."""

    engine: Engine
    files: Files
    own: Json
    source: str
    accepted_engine: str = ""

    def wanted(self, step: str) -> dict[Key, Any]:
        """Return our pieces after a step."""
        return pieces_of_step(self.own, "default", step)

    def held(self) -> Metadata:
        """Read the engine's metadata. Raises WrongUsage."""
        return export(self.engine, self.source, self.own)

    def changes(self, step: str) -> list[Change]:
        """List what a step changes of the engine's metadata. Raises CommandFailed."""
        held = self.held().pieces
        changes = find_changes(self.wanted(step), held, self._former(held))
        if OF_DIVA in held and not is_allowed(held):
            changes.append(Change(PERMISSION, None, ROLE))
        return changes

    def note_allow_list(self, step: str) -> None:
        """Say if the allow list stops our calls until a step has added our entries."""
        held = self.held().pieces
        names = [name for kind, name in self.wanted(step) if kind == "query collection"]
        missing = [name for name in names if ("allow-list entry", name) not in held]
        if missing and self.engine.has_allow_list():
            say(
                f"The engine's allow list is on, without our entries: {', '.join(missing)}. This step adds "
                "them; until then Hasura refuses the calls of edge and handlers."
            )

    def check_before(self, step: str, *, over_drift: bool) -> None:
        """Check everything that can be checked before this step. Raises CommandFailed."""
        self._check_pieces(step, over_drift=over_drift)
        params = {"applied": "as far as it is", "accepted": self.accepted_engine}
        # The rights on a log that came with 9a do not keep crons away: they are looked at afterwards.
        found = self.look_at(select(When.APPLY, params))
        found = [each for each in found if each.check.id != "store-lead" or step != "9b"]
        if obstacles := not_green(found):
            raise CommandFailed(
                "\n".join(["Nothing was changed. On this engine:", *map(describe, obstacles)])
            )

    def apply(self, step: str, *, over_drift: bool) -> Path:
        """Apply our pieces of this step; return the path of the backup. Raises CommandFailed."""
        self.check_before(step, over_drift=over_drift)
        held = self.held()
        backup = self.files.back_up(step, held.whole)
        bad = self._replace(held, self.wanted(step), self._former(held.pieces), backup)
        if OF_DIVA in held.pieces and not is_allowed(held.pieces):
            self.engine.set_permission(ACTION, ROLE, is_allowed=True)
            self._record(has_given_permission=True)  # at once: we take it back, and not one that Diva gave
        if worse := self.engine.inconsistencies().keys() - bad:
            raise CommandFailed(
                f"The step is applied, but now inconsistent: {', '.join(sorted(worse))}. "
                f"Restore with: leads metadata restore --backup {backup}"
            )
        self._record()
        return backup

    def look_at(self, asked: Sequence[Asked]) -> list[Result]:
        settings = read_operator_settings(may_have=("HASURA_URL", "HASURA_ADMIN_SECRET"))
        services = Services(settings, "metadata", self.source, own=self.own, engine=self.engine)
        return look_at(asked, services, seconds=TIMEOUT_SECONDS)

    def install_missing_triggers(self) -> bool:
        """Install the SQL triggers of our event trigger again if one is missing; return whether one was."""
        asked = [Asked(BY_ID["event-trigger"], {"applied": "as far as it is"})]
        is_missing = any(each.is_wanted and each.level is Level.RED for each in self.look_at(asked))
        if is_missing:
            self.engine.install_triggers()
        return is_missing

    def verify(self, step: str, wait_seconds: float = 0.0) -> list[Result]:
        """Look after a step; wait at most `wait_seconds` for the events of its crons."""
        held = self.held().pieces
        crons = [name for kind, name in self.wanted(step) if kind == CRON and (kind, name) in held]
        for _ in poll(wait_seconds if crons else 0.0, EVENTS_CHECK_INTERVAL_SECONDS):
            if all(self.engine.future_events(crons).values()):
                break
        asked = select(When.VERIFY, {"step": step, "names": "all"})
        return self.look_at([each for each in asked if each.check.id != "schedule" or step == "9b"])

    def restore(self, backup: Path) -> Path:
        """Restore our pieces from a backup; return the path of one from before. Raises CommandFailed.

        Later changes to other metadata stay.
        """
        try:
            old = split(self.files.read_backup(backup), self.source)
        except KeyError as error:
            raise CommandFailed(
                f"{backup} has no source {self.source!r}. Give another with --backup or --source."
            ) from error
        held = self.held()
        path = self.files.back_up("restore", held.whole)
        keys = {*self.wanted("9b"), *(self.files.recorded() or {})}
        back = {key: old[key] for key in keys if key in old}
        self._replace(held, back, keys - back.keys(), path)
        if not is_allowed(old):
            self._forbid_notifications()
        self._record()
        return path

    def remove(self, step: str) -> Path:
        """Remove our pieces, those of 9b alone or all; return the path of the backup. Raises CommandFailed.

        It does not use backups, because a backup from before an upgrade holds our pieces too.
        """
        held = self.held()
        self._refuse_foreign(held.pieces)
        keys = {*self.wanted("9b"), *(self.files.recorded() or {})}
        gone = {key for key in keys if key in held.pieces and (step == "9a" or key[0] == CRON)}
        backup = self.files.back_up(f"remove-{step}", held.whole)
        self._replace(held, {}, gone, backup)
        if step == "9a":
            self._forbid_notifications()
        self._record()
        return backup

    def _former(self, held: Mapping[Key, Any]) -> set[Key]:
        """Return the pieces that we applied before and that are in our directory no more."""
        return {key for key in self.files.recorded() or {} if key in held and key not in self.wanted("9b")}

    def _refuse_foreign(self, held: Mapping[Key, Any]) -> None:
        if reasons := foreign(self.wanted("9b"), held, self.files.recorded() or {}):
            raise CommandFailed(f"{'; '.join(reasons)}. {RENAME_FIRST}")

    def _check_pieces(self, step: str, *, over_drift: bool) -> None:
        held = self.held().pieces
        self._refuse_foreign(held)
        recorded = self.files.recorded()
        if recorded is not None and step == "9a":
            recorded = {key: piece for key, piece in recorded.items() if key[0] != CRON}
        if (drifted := drift(self.wanted(step), held, recorded)) and not over_drift:
            names = ", ".join(f"{kind} {name}" for kind, name in drifted)
            raise CommandFailed(
                f"Changed on the engine since it was applied: {names}. "
                "See the differences with `leads metadata diff`, or overwrite them with --over-drift."
            )
        if step == "9b" and (missing := [key for key in self.wanted("9a") if key not in held]):
            raise CommandFailed(
                f"9a must be applied first: {' '.join(missing[0])} is missing. Run: leads metadata 9a"
            )

    def _replace(self, held: Metadata, wanted: Mapping[Key, Any], gone: set[Key], backup: Path) -> set[str]:
        """Replace our pieces; return what was inconsistent before.

        Raises CommandFailed if a piece of others changed too.
        """
        bad = self.engine.inconsistencies()
        changed = put(held.whole, self.source, wanted, gone)
        try:
            warnings = self.engine.replace(changed, held.version, allow_inconsistent=bool(bad))
        except RequestRefused as error:
            raise self._with_crons_put_back(error, held.pieces, wanted, gone) from error
        for warning in warnings:
            say(f"The engine warns: {warning}")
        before, after = held.pieces, self.held().pieces
        others = {*before, *after} - wanted.keys() - gone
        if touched := [" ".join(key) for key in others if before.get(key) != after.get(key)]:
            raise CommandFailed(
                f"The change is applied, but other metadata changed too: {', '.join(sorted(touched))}. "
                f"The state before is in {backup}"
            )
        return set(bad)

    def _with_crons_put_back(
        self, error: RequestRefused, held: Mapping[Key, Any], wanted: Mapping[Key, Any], gone: set[Key]
    ) -> CommandFailed:
        """Put back the future runs of crons, which the engine removes before it refuses their change."""
        changed = {key for key, piece in wanted.items() if key in held and not same(held[key], piece)}
        crons = sorted(name for kind, name in changed | gone if kind == CRON)
        if error.code == "conflict" or not crons:
            return error
        try:
            self.engine.reload()
        except RequestRefused:
            return CommandFailed(f"{error}. The future runs of {', '.join(crons)} come back within a minute")
        return CommandFailed(
            f"{error}. The future runs of {', '.join(crons)} were removed by that and put back"
        )

    def _forbid_notifications(self) -> None:
        """Take back the permission, if we gave it; one that Diva gave stays."""
        if PERMISSION in (self.files.recorded() or {}) and is_allowed(self.held().pieces):
            self.engine.set_permission(ACTION, ROLE, is_allowed=False)

    def _record(self, *, has_given_permission: bool = False) -> None:
        held = self.held().pieces
        pieces = {key: held[key] for key in self.wanted("9b") if key in held}
        was_given = has_given_permission or PERMISSION in (self.files.recorded() or {})
        if was_given and is_allowed(held):
            pieces[PERMISSION] = ROLE
        self.files.record(pieces)


@contextmanager
def open_deployment(
    folder: Path = BACKUPS, source: str = "default", directory: Path = DIRECTORY, accepted_engine: str = ""
) -> Iterator[Deployment]:
    """Open the engine that HASURA_URL names. Raises WrongUsage for an unreadable directory."""
    settings = read_operator_settings("HASURA_URL", "HASURA_ADMIN_SECRET")
    try:
        own = read_directory(directory)
    except DirectoryError as error:
        raise WrongUsage(f"{error}. Give another directory with --metadata.") from error
    with Engine(settings.hasura_url, settings.hasura_admin_secret) as engine:
        yield Deployment(engine, Files(folder, engine.url), own, source, accepted_engine=accepted_engine)


def compare_engines(deployment: Deployment, other: Engine, *, only_integration: bool) -> list[dict[str, Any]]:
    """List the pieces that differ between the engine of the deployment and another one."""
    wanted = deployment.wanted("9b")
    here, there = deployment.held().pieces, replace(deployment, engine=other).held().pieces
    return [
        {"kind": key[0], "name": key[1], "of_integration": key in wanted, "difference": difference}
        for key, difference in differing(here, there).items()
        if key in wanted or not only_integration
    ]
