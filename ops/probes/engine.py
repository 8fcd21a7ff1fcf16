"""Look at Hasura: it answers, and it still has what the integration needs."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from ops.clients.hasura_admin import HasuraAdmin
from ops.failures import WrongUsage
from ops.metadata.checks import find_differences, find_inconsistencies
from ops.metadata.deploy import BACKUPS, Deployment, Files
from ops.metadata.directory import DIRECTORY, DirectoryError, read_directory
from ops.metadata.engine import Engine
from ops.metadata.permission import find_missing_permission
from ops.metadata.pieces import CRON, Key
from ops.metadata.source import find_missing_triggers
from ops.probes.lines import Level, Line
from ops.probes.running import REQUEST_SECONDS, Failure, Probes
from ops.settings import OperatorSettings

RECOVER = "leads metadata recover"
VERIFY = "leads metadata verify"
UNDO = "leads metadata diff; to undo the change: leads metadata {} --over-drift"
CHECK_ADMIN = "Check HASURA_ADMIN_SECRET: leads config show"
CHECK_ENGINE = (
    "Check HASURA_URL, and start Hasura again (its log says why it ended); with compose: "
    "docker compose up -d hasura"
)
ALLOW_LIST_KINDS = ("allow-list entry", "query collection")


@dataclass(frozen=True, slots=True)
class Pieces:
    """Our metadata on the engine: what is missing, what differs, what keeps notifications back."""

    wanted: int
    missing: list[Key]
    differences: list[str]
    permission: list[str]


@dataclass(frozen=True, slots=True)
class EngineLook:
    """What the engine answered to each question, or why it did not. `crons` counts the scheduled events."""

    version: tuple[str, float] | Failure
    pieces: Pieces | Failure
    inconsistencies: list[str] | Failure
    configuration: dict[str, Any] | Failure
    triggers: list[str] | Failure
    crons: dict[str, int | None] | Failure


class EngineProbes:
    """The probes of one engine, which run at the same time."""

    def __init__(self, probes: Probes, settings: OperatorSettings, source: str) -> None:
        self._hasura = HasuraAdmin(
            settings.hasura_url, settings.hasura_admin_secret, timeout_seconds=REQUEST_SECONDS
        )
        engine = Engine(self._hasura)
        deployment = Deployment(engine, Files(BACKUPS, engine.url), own_metadata(), source)
        wanted = deployment.wanted("9b")
        self._version = probes.start(lambda: _ask_version(engine))
        self._pieces = probes.start(lambda: _find_pieces(deployment, wanted))
        self._inconsistencies = probes.start(lambda: find_inconsistencies(engine))
        self._configuration = probes.start(engine.configuration)
        self._triggers = probes.start(lambda: find_missing_triggers(engine, source, wanted))
        names = [name for kind, name in wanted if kind == CRON]
        self._crons = probes.start(partial(engine.future_events, names))

    def look(self) -> EngineLook:
        """Wait for the answers, and close the connections to the engine."""
        try:
            return self._answers()
        finally:
            self._hasura.close()

    def _answers(self) -> EngineLook:
        return EngineLook(
            version=self._version.answer(),
            pieces=self._pieces.answer(),
            inconsistencies=self._inconsistencies.answer(),
            configuration=self._configuration.answer(),
            triggers=self._triggers.answer(),
            crons=self._crons.answer(),
        )


@cache
def own_metadata() -> dict[str, Any]:
    """Read our metadata, once. Raises WrongUsage."""
    try:
        return read_directory(DIRECTORY)
    except DirectoryError as error:
        raise WrongUsage(f"{error}. It belongs to the installation of leads.") from error


def _ask_version(engine: Engine) -> tuple[str, float]:
    started = time.monotonic()
    return engine.version(), time.monotonic() - started


def _find_pieces(deployment: Deployment, wanted: Mapping[Key, Any]) -> Pieces:
    """Compare our pieces. Raises WrongUsage if the engine does not have the source."""
    _, _, held = deployment.held()
    present = {key: held[key] for key in wanted if key in held}
    missing = [key for key in wanted if key not in held]
    differences = find_differences({key: wanted[key] for key in present}, held)
    return Pieces(len(wanted), missing, differences, find_missing_permission(held))


def judge_engine(look: EngineLook) -> list[Line]:
    """Say what is wrong with Hasura, the first cause first."""
    if isinstance(look.version, Failure):
        helps = CHECK_ADMIN if look.version.is_refused else CHECK_ENGINE
        return [Line("Hasura", Level.RED, look.version.reason, helps)]
    version, seconds = look.version
    lines = [Line("Hasura", Level.GREEN, f"{version}, {seconds * 1000:.0f} ms")]
    if isinstance(look.pieces, Failure):
        return [*lines, _judge_failed_export(look.pieces)]
    metadata, trigger = _judge_pieces(look.pieces), _judge_trigger(look.triggers, look.pieces)
    # Without our metadata there are no triggers; a missing trigger alone says more than the difference.
    lines += [metadata, trigger] if look.pieces.missing else [trigger, metadata]
    lines += [
        _judge_allow_list(look.configuration, look.pieces),
        _judge(look.inconsistencies, "consistency", "nothing is inconsistent", VERIFY),
        _judge_crons(look.crons),
        _judge(look.pieces.permission, "notifications", "allowed to the handlers", RECOVER),
    ]
    return lines


def _judge_failed_export(failure: Failure) -> Line:
    if failure.is_refused:
        return Line("metadata", Level.RED, failure.reason, CHECK_ADMIN)
    return Line("metadata", Level.RED, failure.reason, VERIFY)


def _judge_pieces(pieces: Pieces) -> Line:
    if pieces.missing:
        kind, name = pieces.missing[0]
        text = f"{len(pieces.missing)} of {pieces.wanted} pieces are missing, {kind} {name} first"
        return Line("metadata", Level.RED, text, RECOVER)
    if pieces.differences:
        first = pieces.differences[0]
        more = f" (and {len(pieces.differences) - 1} more)" if len(pieces.differences) > 1 else ""
        step = "9b" if first.startswith(CRON) else "9a"
        return Line("metadata", Level.RED, f"{first}{more}", UNDO.format(step))
    return Line("metadata", Level.GREEN, f"{pieces.wanted} pieces, all in place")


def _judge_trigger(missing: list[str] | Failure, pieces: Pieces) -> Line:
    if isinstance(missing, Failure):
        return Line("event trigger", Level.UNKNOWN, missing.reason)
    if not missing:
        return Line("event trigger", Level.GREEN, "its SQL triggers are there")
    text, _, install = missing[0].partition(". ")
    if pieces.missing:
        helps = RECOVER
    elif any("event_triggers" in difference for difference in pieces.differences):
        helps = "leads metadata 9a --over-drift"
    else:
        helps = install
    return Line("event trigger", Level.RED, text, helps)


def _judge_allow_list(configuration: dict[str, Any] | Failure, pieces: Pieces) -> Line:
    if isinstance(configuration, Failure):
        return Line("allow list", Level.UNKNOWN, configuration.reason)
    if not configuration.get("is_allow_list_enabled"):
        return Line("allow list", Level.GREEN, "off")
    missing = [f"{kind} {name}" for kind, name in pieces.missing if kind in ALLOW_LIST_KINDS]
    if missing:
        return Line("allow list", Level.RED, f"{missing[0]} is missing: Hasura stops its calls", RECOVER)
    return Line("allow list", Level.GREEN, "on, with our calls")


def _judge(problems: list[str] | Failure, name: str, fine: str, helps: str) -> Line:
    if isinstance(problems, Failure):
        return Line(name, Level.UNKNOWN, problems.reason)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return Line(name, Level.RED, f"{problems[0]}{more}", helps)
    return Line(name, Level.GREEN, fine)


def _judge_crons(crons: dict[str, int | None] | Failure) -> Line:
    if isinstance(crons, Failure):
        return Line("schedule", Level.UNKNOWN, crons.reason)
    idle = [name for name, count in crons.items() if not count]
    if idle:
        text = f"Hasura has no future run of {len(idle)} of {len(crons)} crons, {idle[0]} first"
        return Line("schedule", Level.RED, text, RECOVER)
    return Line("schedule", Level.GREEN, f"future runs of {len(crons)} crons")
