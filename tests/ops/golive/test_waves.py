"""The waves of a pilot: people open their gates one after the other, and a bad week opens none."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops.clients.db_session import open_session
from ops.files import digest_of
from ops.golive.criterion import load_criteria
from ops.golive.evaluation import Figure, load_figures
from ops.golive.measuring import (
    ANSWERED_BY_EDGE,
    BY_PERSON,
    DEAD_LETTER,
    PROCESSED,
    RESULTS_OF_HANDLERS,
    STORED,
    read_row,
)
from ops.golive.records import FILE, VERIFIED, Handed, Kind, Record, Records, Statement, signature_of
from sandbox.postgres.server import Cluster
from sandbox.processes import ROOT
from tests.support.fake_services import fake_prometheus
from tests.support.golive import LEADS, NO_SCANS, SWITCH_OFF, Pilot, attest_all, clock_at, state

FEW = "success-rate-day"
"""A day of the pilot has fewer leads than show 99.5 %: its owner signs that they suffice."""
MAKE_LATE = (
    "WITH late AS (UPDATE pancake_webhook_event SET evidence = evidence ||"
    " jsonb_build_object('sla_notified_at', created_at + interval '31 minutes')"
    " WHERE record_id LIKE 'pilot-1__' RETURNING ticket_id)"
    " UPDATE ticket AS t SET first_response_at = t.created_at + interval '1 hour'"
    " FROM late WHERE t.id = ticket_id"
)
MAKE_MISSING = (
    "UPDATE pancake_cron_run SET report = jsonb_set(jsonb_set(report, '{days,0,left_missing}', '[\"r-1\"]'),"
    ' \'{days,0,found_missing}\', \'["r-1", "r-2", "r-3", "r-4", "r-5"]\')'
    " WHERE id = (SELECT max(id) FROM pancake_cron_run WHERE name = 'reconcile_daily')"
)
PAST_TRIGGERS = "SET session_replication_role = replica; "
MAKE_HELD = (
    PAST_TRIGGERS + "UPDATE pancake_webhook_event SET held_at = created_at WHERE record_id LIKE 'pilot-5__'"
)
MAKE_CHANGED = (
    "UPDATE ticket SET assignee_id = (SELECT s.id FROM staff AS s WHERE s.id <> assignee_id LIMIT 1)"
    " WHERE title LIKE 'pilot-2__'"
)
MAKE_SUSPENDED = (
    PAST_TRIGGERS
    + "INSERT INTO integration_change (changed_at, changed_by, kind, action, row_id, before, after)"
    " SELECT now() - interval '60 hours', 'x', 'connection', 'update', c.id, '{\"status\": \"active\"}',"
    ' \'{"status": "suspended"}\' FROM pancake_connection AS c'
)
MAKE_NIGHT_LACK = (
    "DELETE FROM pancake_cron_run WHERE id = (SELECT id FROM pancake_cron_run"
    " WHERE name = 'reconcile_daily' ORDER BY started_at OFFSET 1 LIMIT 1)"
)
MAKE_CHECKS_LACK = (
    "DELETE FROM pancake_cron_run WHERE name = 'check_connection'"
    " AND started_at BETWEEN now() - interval '50 hours' AND now() - interval '47 hours'"
)
MAKE_TWO_SOURCES = (
    PAST_TRIGGERS + "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
    " SELECT id, 'second', 'x', false FROM pancake_connection;"
    " INSERT INTO integration_change (changed_at, changed_by, kind, action, row_id, before, after)"
    " SELECT now() - interval '1 hour' * h, 'x', 'source', 'update', s.id::text,"
    " jsonb_build_object('is_active', h = 50), jsonb_build_object('is_active', h = 60)"
    " FROM pancake_source AS s CROSS JOIN (VALUES (60), (50)) AS t (h) WHERE s.pancake_source_id = 'second'"
)
MAKE_SLOW = (
    "UPDATE pancake_cron_run SET finished_at = started_at + interval '{} minutes' WHERE id = (SELECT id"
    " FROM pancake_cron_run WHERE name = 'reconcile_daily' AND started_at < now() - interval '41 minutes'"
    " ORDER BY started_at DESC LIMIT 1)"
)
MADE_UP = (
    "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report)"
    " SELECT name, scheduled_time + {0}, started_at + {0}, finished_at + {0}, outcome, {1}"
    " FROM pancake_cron_run WHERE {2}"
)
MAKE_DEAD = (
    "UPDATE pancake_webhook_event SET status = 'dead_letter', error_code = 'internal', outcome = NULL"
    " WHERE id IN (SELECT id FROM pancake_webhook_event WHERE created_at < now() - interval '2 days'"
    " ORDER BY id LIMIT 10)"
)


def open_waves(pilot: Pilot, folder: Path, sources_of: Mapping[str, int]) -> None:
    """People alone keep each gate closed; they attest, then it is open, and its report verifies.

    `sources_of` has the number of sources that each wave activates.
    """
    pilot.sql(SWITCH_OFF)
    attested: set[str] = set()
    of_people = [each for each in load_criteria() if each.source.is_of_people]
    for number, (wave, sources) in enumerate(sources_of.items()):
        begins = pilot.since + number * timedelta(days=7, minutes=6)
        with clock_at(begins + timedelta(minutes=5)):
            begun = pilot.golive("begin", wave, "--since", f"{begins:%Y-%m-%dT%H:%M}")
        assert begun.exit_code == 0, begun.output
        pilot.activate_sources(sources, begins)

        with clock_at(begins + timedelta(days=7, seconds=30)):
            closed = pilot.gate(wave)
            keeps_closed = {each["id"] for each in closed["criteria"] if each["outcome"] != "pass"}
            asked = {each.id for each in of_people if wave in each.parts} - attested
            assert keeps_closed == asked | ({FEW} if wave == "W1" else set()), wave
            assert {each["outcome"] for each in closed["criteria"]} == {"pass", "inconclusive"}
            assert not closed["is_open"]

            attested |= set(attest_all(pilot, closed, folder))
            is_open = pilot.gate(wave)
            assert not any("judged again" in each["en"] for each in is_open["notices"])
            outcomes = {each["id"]: each["outcome"] for each in is_open["criteria"]}
            assert outcomes.pop(FEW, "waived") == "waived"
            assert set(outcomes.values()) == {"pass"}, wave
            assert is_open["is_open"]
            assert is_open["period"]["since"] == begins.isoformat()
            by_people = [each["gate"] for each in is_open["notices"] if each["en"].endswith(BY_PERSON.en)]
            assert [each for each in by_people if each in sources_of] == list(sources_of)[:number]
            assert "" in by_people
            check_report(pilot, wave, folder)
    with clock_at(pilot.now):
        check_sign_off(pilot, folder)


def check_sign_off(pilot: Pilot, folder: Path) -> None:
    """After W4 only the signatures are missing."""
    closed = pilot.gate("sign-off")
    assert closed["before"] == {"gate": "W4", "outcome": "pass", "reason": "It is open."}
    assert {each["why"] for each in closed["criteria"]} == {None, "no_data"}
    attest_all(pilot, closed, folder)
    signed = pilot.gate("sign-off")
    assert signed["is_open"]
    by_people = [each["gate"] for each in signed["notices"] if each["en"].endswith(BY_PERSON.en)]
    assert {"W1", "W2", "W3", "W4"} <= set(by_people)
    check_report(pilot, "sign-off", folder)


def check_report(pilot: Pilot, wave: str, folder: Path) -> None:
    """Write the report of a gate, and verify it, also by the sources."""
    result = pilot.golive("report", wave, "--to", str(folder / wave))
    assert result.exit_code == 0, result.output
    (made,) = (folder / wave).iterdir()
    verified = pilot.golive("verify", str(made), "--reevaluate")
    assert verified.exit_code == 0, verified.output
    assert f"The report is what was signed: gate {wave} was open at" in verified.stdout


def differences(pilot: Pilot, folder: Path) -> dict[str, str]:
    """Ask the sources of the report of W1 again; return the problems by criterion."""
    (made,) = (folder / "W1").iterdir()
    result = pilot.golive("verify", str(made), "--reevaluate", "--json")
    assert result.exit_code == 1
    checks = json.loads(result.stdout)["checks"]
    return {each["name"].removeprefix("again: "): each["problem"] for each in checks if each["problem"]}


@pytest.mark.own_database
@pytest.mark.slow("four weeks of records, at four gates")
def test_four_waves_are_opened_by_their_people_one_after_the_other(
    database: str, tmp_path: Path, open_entry: None
) -> None:
    """Four weeks. What differs later is named when the sources are asked again."""
    with fake_prometheus() as prometheus:
        pilot = Pilot(database, tmp_path / "records", prometheus.url, days=28)
        pilot.seed(leads=4 * LEADS, lead_days=28)
        # None came in the first half hour of W1.
        prometheus.values[ANSWERED_BY_EDGE % STORED] = ["697"]
        open_waves(pilot, tmp_path, {"W1": 1, "W2": 5, "W3": 15, "W4": 41})
    pilot.sql(MAKE_DEAD)
    pilot.engine_url, pilot.prometheus_url = pilot.prometheus_url, ""
    found = differences(pilot, tmp_path)
    of_metrics = {"webhook-latency", "handlers-latency", "rows-edge", "rows-dead-letters"}
    assert found.keys() == {"success-rate", *of_metrics}
    assert re.match(r"it was pass \(1.0\), it is fail \(0.98", found["success-rate"])
    assert "it is inconclusive (None)" in found["webhook-latency"]


DAY = timedelta(days=1)
FORGED = Handed("gate-W1.json", json.dumps({"subject": "W1", "is_open": True}).encode())
RECODED = (
    "UPDATE pancake_webhook_event SET status = 'processed', error_code = NULL, outcome = 'no_change'{}"
    " WHERE status = 'dead_letter'"
)
REPLAYED = ", replay_count = 1, replayed_at = created_at, replayed_by = 'lan'"


def add_dated(pilot: Pilot, statement: Statement) -> None:
    """Add a record that names no other record, as the holder of a key can by another program."""
    records = Records(pilot.folder)
    content = FILE.dump_json(Record(statement), exclude=VERIFIED)
    _, (signature,) = records.sign(statement.role, [content])
    path = records.folder / f"{digest_of(content)}.json"
    path.write_bytes(content)
    signature_of(path).write_bytes(signature)


def attack_by_sql(pilot: Pilot, statement: str) -> None:
    pilot.sql(statement)


def attack_by_later_beginning(pilot: Pilot, _: str) -> None:
    """W1 as if it had been stated long ago that it begins after the bad day: seven good ones are left."""
    since = pilot.now - timedelta(days=7, minutes=1)
    add_dated(pilot, state(Kind.BEGIN, "W1", pilot.since - timedelta(days=1), since=since))


def attack_by_long_ago(pilot: Pilot, _: str) -> None:
    """An expired key signs with a time before its end."""
    add_dated(pilot, state(Kind.ATTEST, "G-1", pilot.since - timedelta(days=1), value=1.0))


def attack_by_beginning_anew(pilot: Pilot, _: str) -> None:
    assert pilot.golive("begin", "W1", "--again", "five sources were on").exit_code == 0


def attack_by_forged_gate(pilot: Pilot, _: str) -> None:
    Records(pilot.folder).add(state(Kind.BEGIN, "W2", datetime.now(UTC)), files=[FORGED, NO_SCANS])


def attack_by_old_beginning(pilot: Pilot, _: str) -> None:
    """Four waves in one minute, by hand: more than the seven days that `--since` allows."""
    since = pilot.now - timedelta(days=8)
    statement = state(Kind.BEGIN, "W2", datetime.now(UTC), since=since)
    Records(pilot.folder).add(statement, files=[FORGED, NO_SCANS])


def attack_by_disabling(pilot: Pilot, _: str) -> None:
    """A connection without a check, a night and a mode is off while the gate is asked."""
    now = datetime.now(UTC)
    statement = state(Kind.BEGIN, "W4", now, since=now - timedelta(days=7))
    Records(pilot.folder).add(statement, files=[NO_SCANS])
    pilot.sql(
        "INSERT INTO pancake_connection (name, workspace_id, token_sha256, created_at)"
        " VALUES ('Bad', 2, sha256('y'), now() - interval '5 days')"
    )
    pilot.sql("UPDATE pancake_connection SET status = 'disabled' WHERE name = 'Bad'")


Attack = Callable[[Pilot, str], None]
ATTACKS: Mapping[str, tuple[Attack, str, str, str]] = {
    "dead letters made processed": (attack_by_sql, RECODED.format(""), "W1", "rows-dead-letters (fail)"),
    "as if a person had replayed them": (
        attack_by_sql, RECODED.format(REPLAYED), "W1",
        "rows-dead-letters: 10 leads are stored as processed that no handler processed",
    ),
    "as if the lead had been invalid": (
        attack_by_sql,
        "UPDATE pancake_webhook_event SET error_code = 'invalid_phone' WHERE status = 'dead_letter'",
        "W1", "rows-dead-letters (fail)",
    ),
    "bad leads deleted": (
        attack_by_sql, "DELETE FROM pancake_webhook_event WHERE status = 'dead_letter'", "W1",
        "rows-edge (fail)",
    ),
    "late tickets deleted": (
        attack_by_sql, "DELETE FROM ticket WHERE first_response_at > created_at + interval '30 minutes'",
        "W1", "rows-tickets (fail)",
    ),
    "late tickets answered in time": (
        attack_by_sql, "UPDATE ticket SET first_response_at = created_at + interval '1 minute'", "W1",
        "rows-tickets: 0 tickets of leads are gone, 100 were answered before",
    ),
    "missing leads taken out of a report": (
        attack_by_sql, "UPDATE pancake_cron_run SET report = jsonb_set(report, '{days,0,left_missing}', '[]')"
        " WHERE name = 'reconcile_daily'", "W1",
        "zero-miss: leads missing after a reconciliation: of the day to",
    ),
    "found leads taken out of a report": (
        attack_by_sql,
        "UPDATE pancake_cron_run SET report = jsonb_set(report, '{days,0,found_missing}', '[]')"
        " WHERE name = 'reconcile_daily'", "W1",
        "missing-W4: leads that only a reconciliation found: of the day to",
    ),
    "held leads made others": (
        attack_by_sql, PAST_TRIGGERS + "UPDATE pancake_webhook_event SET held_at = NULL", "W1",
        "held-share: leads that were held when they arrived: of the day to",
    ),
    "late tickets answered in time, and their alarm removed": (
        attack_by_sql,
        PAST_TRIGGERS + "UPDATE ticket SET first_response_at = created_at + interval '1 minute';"
        " UPDATE pancake_webhook_event SET evidence = evidence - 'sla_notified_at'", "W1",
        "response-W4: minutes to the first response, p95: of the day to",
    ),
    "tickets given back to the chosen owner": (
        attack_by_sql,
        "UPDATE ticket AS t SET assignee_id = (e.evidence -> 'assignment' ->> 'chosen')::uuid"
        " FROM pancake_webhook_event AS e WHERE e.ticket_id = t.id", "W1",
        "intervention-W2: tickets with another owner: of the day to",
    ),
    "a suspension taken out of the history": (
        attack_by_sql,
        PAST_TRIGGERS + "DELETE FROM integration_change WHERE after ->> 'status' = 'suspended'",
        "W1", "no-suspension: suspensions by Pancake: of the day to",
    ),
    "a night made up": (
        attack_by_sql, MADE_UP.format(
            "interval '1 day'",
            "jsonb_set(report, '{days,0,day}', to_jsonb((report #>> '{days,0,day}')::date + 1))",
            "name = 'reconcile_daily' ORDER BY started_at LIMIT 1",
        ), "W1", "zero-miss: hours without a reconciliation: of the day to",
    ),
    "checks made up": (
        attack_by_sql, MADE_UP.format(
            "interval '3 hours 7 seconds'", "report", "name = 'check_connection' AND"
            " started_at BETWEEN now() - interval '53 hours' AND now() - interval '50 hours'",
        ), "W1", "no-suspension: hours without a check: of the day to",
    ),
    "a second source taken out of the history": (
        attack_by_sql, PAST_TRIGGERS + "DELETE FROM integration_change AS h USING pancake_source AS s"
        " WHERE h.kind = 'source' AND h.row_id = s.id::text AND s.pancake_source_id = 'second'",
        "W1", "sources: sources that were active together: of the day to",
    ),
    "a slow reconciliation made quick": (
        attack_by_sql, MAKE_SLOW.format(4), "W1",
        "reconciliation-duration-W3: minutes of the longest reconciliation: of the day to",
    ),
    "a beginning after the bad days": (attack_by_later_beginning, "", "W1", "success-rate (fail)"),
    "a record of a key that ended": (
        attack_by_long_ago, "", "W1", "dated before W1 began, and not there then: G-1",
    ),
    "W1 begun anew": (attack_by_beginning_anew, "", "W1", "W1 began anew, by lan@diva.example: five sources"),
    "what went before a new beginning": (
        attack_by_beginning_anew, "", "W1", "leads became tickets before W1 began",
    ),
    "the gate before forged": (
        attack_by_forged_gate, "", "W2",
        "judged again, these do not pass: held-share (fail), success-rate (fail)",
    ),
    "a wave that began long ago": (attack_by_old_beginning, "", "W2", "wave-length (inconclusive)"),
    **{
        f"a bad connection disabled, {shown}": (attack_by_disabling, "", "W4", shown)
        for shown in (
            "zero-miss (inconclusive)", "missing-W4 (inconclusive)", "no-suspension (inconclusive)",
            "signature-W4 (fail)", "allowlist-W4 (fail)",
        )
    },
}  # fmt: skip
"""By attack: how it is made, on which gate, and the criterion that closes the gate or the red notice."""


BAD_WEEK, KEPT = "pancake_bad_week", "pancake_bad_week_kept"


def remembered(url: str, figure: Figure) -> Callable[[float], list[str]]:
    """The series of a figure, as it was read from this database."""

    def at(seconds: float) -> list[str]:
        until = datetime.fromtimestamp(seconds, UTC)
        with open_session(url, "test") as session:
            window = {"from": until - DAY - timedelta(minutes=figure.earlier_minutes), "to": until}
            row = read_row(session, figure.sql, window) or {}
        return [str(row.get(figure.column) or 0)]

    return at


@pytest.fixture(scope="module")
def bad_week(cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pilot]:
    """W1 with all attested, kept closed by dead letters, held and missing leads, a suspension, a night."""
    folder = tmp_path_factory.mktemp("bad-week")
    with fake_prometheus() as prometheus, pytest.MonkeyPatch.context() as patch:
        patch.setattr("ops.golive.evaluation.entry_criteria", list)
        pilot = Pilot(cluster.create_database(BAD_WEEK, template), folder / "records", prometheus.url, days=8)
        pilot.seed(lead_days=8)
        pilot.sql(SWITCH_OFF)
        with clock_at(pilot.since + timedelta(minutes=5)):
            assert pilot.golive("begin", "W1", "--since", f"{pilot.since:%Y-%m-%dT%H:%M}").exit_code == 0
        attest_all(pilot, pilot.gate("W1"), folder)
        assert pilot.gate("W1")["is_open"]
        for statement in (
            MAKE_DEAD, MAKE_LATE, MAKE_MISSING, MAKE_HELD, MAKE_CHANGED, MAKE_SUSPENDED, MAKE_NIGHT_LACK,
            MAKE_CHECKS_LACK, MAKE_TWO_SOURCES, MAKE_SLOW.format(40),
        ):  # fmt: skip
            pilot.sql(statement)
        prometheus.values |= {
            RESULTS_OF_HANDLERS % DEAD_LETTER: ["10"], RESULTS_OF_HANDLERS % PROCESSED: ["690"],
            **{figure.promql: remembered(pilot.url, figure) for figure in load_figures()},
        }  # fmt: skip
        closed = pilot.gate("W1")
        assert [each["id"] for each in closed["criteria"] if each["outcome"] in ("fail", "inconclusive")] == [
            "held-share", "success-rate", "zero-miss", "no-suspension", "sources-W1",
        ]  # fmt: skip
        assert not any("of the day to" in each["en"] for each in closed["notices"])
        kept = cluster.create_database(KEPT, BAD_WEEK)
        prometheus.values |= {figure.promql: remembered(kept, figure) for figure in load_figures()}
        yield pilot
    cluster.drop_database(BAD_WEEK)
    cluster.drop_database(KEPT)


@pytest.fixture
def attacked(bad_week: Pilot, tmp_path: Path, cluster: Cluster) -> Iterator[Pilot]:
    """The bad week, whose database and records are as they were after it."""
    shutil.copytree(bad_week.folder, tmp_path / "records")
    yield replace(bad_week, folder=tmp_path / "records")
    cluster.drop_database(BAD_WEEK)
    cluster.create_database(BAD_WEEK, KEPT)


def red_of(gate: Mapping[str, Any]) -> list[str]:
    """What keeps a gate closed, and its red notices."""
    kept = [f"{each['id']} ({each['outcome']})" for each in gate["criteria"] if each["outcome"] != "pass"]
    return kept + [each["en"] for each in gate["notices"]]


@pytest.mark.parametrize("name", ATTACKS)
def test_who_wants_a_gate_open_from_a_bad_week_is_stopped_or_named_in_red(attacked: Pilot, name: str) -> None:
    """By a person who has the key of the release manager, the database and the code."""
    attack, argument, gate, shown = ATTACKS[name]
    attack(attacked, argument)
    found = attacked.gate(gate)
    assert any(shown in each for each in red_of(found)), red_of(found)
    assert not found["is_open"], "what is only named in red does not mend the rest of the week"


ONLY_NAMED = (
    "as if a person had replayed them", "missing leads taken out of a report",
    "found leads taken out of a report", "held leads made others",
    "late tickets answered in time, and their alarm removed", "tickets given back to the chosen owner",
    "a suspension taken out of the history", "a night made up", "checks made up",
    "a second source taken out of the history", "a slow reconciliation made quick",
)  # fmt: skip
"""The attacks on data that close no gate."""


def test_all_attacks_on_data_together_open_a_gate_on_which_each_stands_in_red(attacked: Pilot) -> None:
    for name in ONLY_NAMED:
        attack_by_sql(attacked, ATTACKS[name][1])
    found = attacked.gate("W1")
    red = red_of(found)
    assert found["is_open"], red
    assert [name for name in ONLY_NAMED if not any(ATTACKS[name][3] in each for each in red)] == []
    said = f"{len(ONLY_NAMED)} attacks on data together open a gate, on which each stands in red"
    assert said in (ROOT / "docs" / "security.md").read_text("utf-8")
