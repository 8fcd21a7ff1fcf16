"""Each red line of `leads status` ends with the command that helps."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from leads.cli.metadata.source import REINSTALL
from leads.cli.probes import database, engine, http_services
from leads.cli.probes.lines import Level, Line
from leads.cli.probes.pancake import KeyLook
from leads.cli.probes.running import Failure
from leads.cli.status import judging, looking
from leads.cli.status.state import LastRuns, Queue, Roster, Tickets
from leads.services.cron_runs import CRONS
from tests.support.ending_command import ends_with_command
from tests.support.status_look import CONNECTION, EDGE, NOW, OFF, STATE

AWAY, REFUSED = Failure("Connection refused"), Failure("password authentication failed", is_refused=True)
SERVER = database.Server("17.2", NOW, "operator", [], [])
LOOK = database.DatabaseLook(SERVER, None, 0.01, NOW)
WAIT = database.LockWait(1, 17, NOW.replace(hour=1), 18, "psql")
PIECES = engine.Pieces(2, [], [], [])
ENGINE = engine.EngineLook(("v2.50.6", 0.01), PIECES, [], {"is_allow_list_enabled": True}, [], {"poll": 5})
TRIGGER = "the SQL trigger x is missing on table public.y: its rows make no event. {}"


def database_lines() -> Iterator[Line]:
    for look in (
        AWAY,
        REFUSED,
        replace(LOOK, server=replace(SERVER, missing=["app_setting"])),
        replace(LOOK, server=replace(SERVER, refused=["app_setting"])),
        replace(LOOK, lock_wait=WAIT),
    ):
        yield database.judge_database(look)
    yield looking._judge_both(LOOK, AWAY, None)
    yield looking._judge_both(LOOK, AWAY, WAIT)


def engine_lines() -> Iterator[Line]:
    drifted = replace(PIECES, differences=["table public.y differs: event_triggers"])
    for look in (
        replace(ENGINE, version=AWAY),
        replace(ENGINE, version=REFUSED),
        replace(ENGINE, pieces=AWAY),
        replace(ENGINE, pieces=REFUSED),
        replace(ENGINE, pieces=replace(PIECES, missing=[("allow-list entry", "pancake")], permission=["x"])),
        replace(ENGINE, pieces=drifted, triggers=[TRIGGER.format("Install it")], inconsistencies=["x"]),
        replace(ENGINE, triggers=[TRIGGER.format(REINSTALL)], crons={"poll": 0}),
    ):
        yield from engine.judge_engine(look)


def service_lines() -> Iterator[Line]:
    yield http_services.judge_handlers(AWAY)
    yield http_services.judge_edge(AWAY)
    for edge in (
        replace(EDGE, is_writable=False),
        replace(EDGE, connections=0),
        replace(EDGE, spooled=http_services.MANY_SPOOLED),
    ):
        yield http_services.judge_edge(edge)


def state_lines() -> Iterator[Line]:
    yield judging.judge_tickets(replace(STATE, tickets=Tickets(12, 0, 14.0)))
    kill, pause = replace(OFF, is_on=True), replace(OFF, kind="pause", is_on=True)
    connection = replace(OFF, kind="connection", name="Diva", is_on=False)
    disabled = replace(CONNECTION, status="disabled", active_sources=0)
    yield from judging.judge_switches(replace(STATE, switches=[kill, pause], connections=[]))
    yield from judging.judge_switches(replace(STATE, switches=[connection], connections=[disabled]))
    for status in ("suspended", "outage", "key_invalid"):
        yield from judging.judge_pancake(
            replace(STATE, connections=[replace(CONNECTION, status=status)]), {}, 0
        )
    yield from judging.judge_pancake(STATE, {"c1": KeyLook(False, True, "401")}, 0)
    yield judging.judge_rosters([])
    yield judging.judge_rosters([Roster(None, 0, 0)])
    yield judging.judge_queue([Queue("received", 7, NOW, 7, 7)], NOW, is_stopped=False)
    never = [LastRuns(name, None, None, None, None, None, None) for name in CRONS]
    for crons in (never, [*never[:1], *STATE.crons[1:]], [*never[:2], *STATE.crons[2:]]):
        yield judging.judge_crons(replace(STATE, crons=crons), looking.read_schedules())


RED = [
    line
    for lines in (database_lines(), engine_lines(), service_lines(), state_lines())
    for line in lines
    if line.level is Level.RED
]


def test_every_kind_of_red_line_is_looked_at() -> None:
    assert {line.name for line in RED} == {
        *("tickets", "database", "Hasura", "metadata", "event trigger", "allow list", "consistency"),
        *("schedule", "notifications", "handlers", "edge", "switches", "kill switch", "pause", "connection"),
        *("sources", "Pancake", "rosters", "queue", "crons"),
    }


@pytest.mark.parametrize("line", RED, ids=lambda line: line.name)
def test_a_red_line_ends_with_the_command_that_helps(line: Line) -> None:
    assert ends_with_command(line.helps), line.helps


@pytest.mark.parametrize(
    "advice", ["", "docs/runbook/edge.md", "Check HASURA_URL", "leads status; then add members", "run leads"]
)
def test_advice_is_no_command(advice: str) -> None:
    assert not ends_with_command(advice)
