"""`leads switch`: turn the kill switch, the pause and sources on or off; show since when, by whom and why."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

import typer
from rich.console import Console

from ops import switches
from ops.clients.alertmanager import Alertmanager, AlertmanagerUnavailable
from ops.clients.db_session import DbSession, open_session
from ops.failures import CommandFailed, only_one
from ops.output import AsJson, examples, one_line, print_indented, print_json, say, verb_group
from ops.settings import read_operator_settings
from ops.switches import Setting, Switch, check_reason, list_switches

KILL_ON = """No ticket is created from now on. Deliveries are answered 200 and stored as skipped_kill_switch.
Undo it with: leads switch kill off --reason TEXT"""
KILL_OFF = """Tickets are created again.
Process what was held meanwhile: leads replay --status skipped_kill_switch --drain"""
PAUSE_ON = """Leads are stored and wait as received; nothing is lost, and no ticket is created meanwhile.
Undo it with: leads switch pause off --reason TEXT"""
PAUSE_OFF = "Processing goes on. What waited is processed at the rate replay_rate_per_second."
SOURCE_ON = """Its leads make tickets from now on.
Process what was held meanwhile: leads replay --status skipped_source_disabled --drain"""
SOURCE_OFF = """Leads of it alone are stored as skipped_source_disabled and make no tickets.
Undo it with: leads switch source NAME on --reason TEXT"""


State = Literal["on", "off"]
To = Annotated[State, typer.Argument(help="on or off.", metavar="on|off")]
Reason = Annotated[str, typer.Option(help="Why; the history of changes keeps it.")]
Until = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%dT%H:%M"], help="Planned until then, UTC: no page before. Needs ALERTMANAGER_URL."
    ),
]

app = verb_group(
    "Turn the kill switch, the pause and sources on or off, with a reason.",
    "A switch works at once, on every process. Needs DATABASE_URL.",
    examples("switch list", 'switch kill on --reason "duplicate tickets"'),
)


@app.command("list", epilog=examples("switch list", "switch list --json"))
def show(as_json: AsJson = False) -> None:
    """Show every switch: since when it is as it is, by whom and why.

    The earlier changes are shown by: leads history --of setting --of source
    """
    with _open() as db:
        found = list_switches(db)
    if as_json:
        print_json([asdict(switch) for switch in found])
        return
    console = Console()
    for switch in found:
        print_indented(one_line(f"{_title(switch)}: {_state(switch)}"), 0, console)
        print_indented(one_line(_last_change(switch)), 1, console)
        if switch.reason:
            print_indented(one_line(f"reason: {switch.reason}"), 1, console)


@app.command(epilog=examples('switch kill on --reason "duplicate tickets"', "switch kill off --reason fixed"))
def kill(to: To, reason: Reason, until: Until = None, as_json: AsJson = False) -> None:
    """Turn the kill switch on or off: while it is on, no ticket is created."""
    silences = _Silences.of("PancakeKillSwitchOn", until, reason, is_holding=to == "on")
    was_on = _set("kill_switch", to, reason)
    silences.follow({}, f"The kill switch is {to}")
    _report("kill switch", to, was_on, as_json, {"on": KILL_ON, "off": KILL_OFF})


@app.command(epilog=examples('switch pause on --reason "Diva is migrated"', "switch pause off --reason done"))
def pause(to: To, reason: Reason, as_json: AsJson = False) -> None:
    """Pause processing, or go on: meanwhile leads are stored and wait."""
    was_on = _set("processing_paused", to, reason)
    _report("pause", to, was_on, as_json, {"on": PAUSE_ON, "off": PAUSE_OFF})


@app.command(
    context_settings={"ignore_unknown_options": True},  # Pancake's ids of sources begin with a minus: -1
    epilog=examples("switch source Facebook on --reason W1", 'switch source -1 off --reason "spam"'),
)
def source(
    which: Annotated[str, typer.Argument(metavar="SOURCE", help="Its name, its id in Pancake, or its id.")],
    to: To,
    reason: Reason,
    connection: Annotated[str | None, typer.Option(help="Name of the connection of the source.")] = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """Switch a source on or off: leads without an active source are held."""
    reason = check_reason(reason)
    silences = _Silences.of("PancakeSourceOff", until, reason, is_holding=to == "off")
    with _open() as db:
        found = _find(list_switches(db), which, connection)
        if to == "on" and not found.can_be_on:
            raise CommandFailed(
                f"{_title(found)} cannot be switched on: Pancake removed it, or it has no name yet.\n"
                "It gets its name from the next sync_sources, within 15 minutes."
            )
        before = switches.set_source(db, found.row_id, is_on=to == "on", reason=reason)
    if before is None:
        raise CommandFailed(f"{_title(found)} was removed meanwhile. See: leads switch list")
    labels = {"connection": before.connection_id, "source": str(found.pancake_source_id)}
    silences.follow(labels, f"The {_title(found)} is {to}")
    _report(_title(found), to, before.was_on, as_json, {"on": SOURCE_ON, "off": SOURCE_OFF})


def _set(setting: Setting, to: State, reason: str) -> bool:
    reason = check_reason(reason)
    with _open() as db:
        return switches.set_setting(db, setting, is_on=to == "on", reason=reason)


@dataclass(frozen=True, slots=True)
class _Silences:
    """The silences of the alert on leads that a switch holds: made until a time, ended on the way back."""

    alertmanager: Alertmanager | None
    alert: str
    until: datetime | None
    reason: str

    @classmethod
    def of(cls, alert: str, until: datetime | None, reason: str, *, is_holding: bool) -> Self:
        """Check what is needed, before the switch is set."""
        url, now = "", datetime.now(UTC)
        if until is None:
            if not is_holding:
                url = read_operator_settings(may_have=["ALERTMANAGER_URL"]).alertmanager_url
        elif not is_holding:
            raise typer.BadParameter("--until is for a switch that holds leads")
        elif until.replace(tzinfo=UTC) <= now:
            raise typer.BadParameter(
                f"--until {until:%Y-%m-%dT%H:%M} has passed; it is {now:%Y-%m-%dT%H:%M} UTC"
            )
        else:
            url = read_operator_settings("ALERTMANAGER_URL").alertmanager_url
        return cls(Alertmanager(url) if url else None, alert, until, check_reason(reason))

    def follow(self, labels: Mapping[str, str], done: str) -> None:
        """Make the silence, or end those of before, once the switch is set."""
        if self.alertmanager is None:
            return
        matched = {"alertname": self.alert, **labels}
        try:
            if self.until is None:
                self.alertmanager.end_silences(matched)
            else:
                ends_at = self.until.replace(tzinfo=UTC)
                self.alertmanager.silence(matched, datetime.now(UTC), ends_at, self.reason)
        except AlertmanagerUnavailable as error:
            state = "may still be silenced" if self.until is None else "is not silenced"
            raise CommandFailed(f"{done}, but {self.alert} {state}. Run it again.\n{error}") from error


def _open() -> DbSession:
    return open_session(read_operator_settings("DATABASE_URL").database_url, "switch")


def _report(name: str, to: State, was_on: bool, as_json: bool, said: dict[State, str]) -> None:
    before = "on" if was_on else "off"
    if as_json:
        print_json({"switch": name, "state": to, "before": before, "changed": to != before})
    if to == before:
        say(f"{name}: {to} already, nothing was changed.")
    else:
        say(f"{name}: {to} (before: {before}).\n{said[to]}")


def _find(found: Sequence[Switch], which: str, connection: str | None) -> Switch:
    """Return the source of that name or id. Raises WrongUsage if there is none, or several."""
    matching = {
        f"{each.row_id} ({each.connection})": each
        for each in found
        if each.kind == "source"
        and which in (each.name, each.pancake_source_id, each.row_id)
        and connection in (None, each.connection)
    }
    return only_one(matching, "source", which, "They are listed by: leads switch list")


def _title(switch: Switch) -> str:
    if switch.kind == "source":
        return f"source {switch.name or 'without a name'} ({switch.pancake_source_id}) of {switch.connection}"
    return {"kill": "kill switch"}.get(switch.kind, f"{switch.kind} {switch.name or ''}".strip())


def _state(switch: Switch) -> str:
    if switch.kind == "connection":
        return "active" if switch.is_on else "disabled"
    return "on" if switch.is_on else "off"


def _last_change(switch: Switch) -> str:
    if switch.changed_at is None:
        return "never changed"
    by = switch.person or switch.changed_by
    program = f", {switch.application}" if switch.application else ""
    return f"since {switch.changed_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, by {by}{program}"
