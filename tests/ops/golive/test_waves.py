"""The waves of a pilot: people open their gates one after the other, and a bad week opens none."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops.clients.db_session import DbSession, open_session
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
from tests.support.databases import STATEMENTS
from tests.support.fake_services import fake_prometheus
from tests.support.golive import LEADS, NO_SCANS, SWITCH_OFF, Pilot, attest_all, clock_at, state

FEW = "success-rate-day"
"""A day of the pilot has fewer leads than show 99.5 %: its owner signs that they suffice."""


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
    pilot.sql(STATEMENTS["bad_week/make_dead_letters"])
    pilot.engine_url, pilot.prometheus_url = pilot.prometheus_url, ""
    found = differences(pilot, tmp_path)
    of_metrics = {"webhook-latency", "handlers-latency", "rows-edge", "rows-dead-letters"}
    assert found.keys() == {"success-rate", *of_metrics}
    assert re.match(r"it was pass \(1.0\), it is fail \(0.98", found["success-rate"])
    assert "it is inconclusive (None)" in found["webhook-latency"]


DAY = timedelta(days=1)
FORGED = Handed("gate-W1.json", json.dumps({"subject": "W1", "is_open": True}).encode())


def add_dated(pilot: Pilot, statement: Statement) -> None:
    """Add a record that names no other record, as the holder of a key can by another program."""
    records = Records(pilot.folder)
    content = FILE.dump_json(Record(statement), exclude=VERIFIED)
    _, (signature,) = records.sign(statement.role, [content])
    path = records.folder / f"{digest_of(content)}.json"
    path.write_bytes(content)
    signature_of(path).write_bytes(signature)


def attack_by_later_beginning(pilot: Pilot) -> None:
    """W1 as if it had been stated long ago that it begins after the bad day: seven good ones are left."""
    since = pilot.now - timedelta(days=7, minutes=1)
    add_dated(pilot, state(Kind.BEGIN, "W1", pilot.since - timedelta(days=1), since=since))


def attack_by_long_ago(pilot: Pilot) -> None:
    """An expired key signs with a time before its end."""
    add_dated(pilot, state(Kind.ATTEST, "G-1", pilot.since - timedelta(days=1), value=1.0))


def attack_by_beginning_anew(pilot: Pilot) -> None:
    assert pilot.golive("begin", "W1", "--again", "five sources were on").exit_code == 0


def attack_by_forged_gate(pilot: Pilot) -> None:
    Records(pilot.folder).add(state(Kind.BEGIN, "W2", datetime.now(UTC)), files=[FORGED, NO_SCANS])


def attack_by_old_beginning(pilot: Pilot) -> None:
    """Four waves in one minute, by hand: more than the seven days that `--since` allows."""
    since = pilot.now - timedelta(days=8)
    statement = state(Kind.BEGIN, "W2", datetime.now(UTC), since=since)
    Records(pilot.folder).add(statement, files=[FORGED, NO_SCANS])


def attack_by_disabling(pilot: Pilot) -> None:
    """A connection without a check, a night and a mode is off while the gate is asked."""
    now = datetime.now(UTC)
    statement = state(Kind.BEGIN, "W4", now, since=now - timedelta(days=7))
    Records(pilot.folder).add(statement, files=[NO_SCANS])
    pilot.sql(
        "INSERT INTO pancake_connection (name, workspace_id, token_sha256, created_at)"
        " VALUES ('Bad', 2, sha256('y'), now() - interval '5 days')"
    )
    pilot.sql("UPDATE pancake_connection SET status = 'disabled' WHERE name = 'Bad'")


ON_DATA = {
    "make_dead_letters_processed": "rows-dead-letters (fail)",
    "make_dead_letters_invalid": "rows-dead-letters (fail)",
    "delete_bad_leads": "rows-edge (fail)",
    "delete_late_tickets": "rows-tickets (fail)",
    "answer_late_tickets": "rows-tickets: 0 tickets of leads are gone, 100 were answered before",
}
"""Attacks of bad_week.sql on W1 that close its gate: by name what shows them."""
ONLY_NAMED = {
    "make_dead_letters_replayed":
        "rows-dead-letters: 10 leads are stored as processed that no handler processed",
    "take_out_missing_leads": "zero-miss: leads missing after a reconciliation: of the day to",
    "take_out_found_leads": "missing-W4: leads that only a reconciliation found: of the day to",
    "free_held_leads": "held-share: leads that were held when they arrived: of the day to",
    "answer_late_tickets_without_alarm": "response-W4: minutes to the first response, p95: of the day to",
    "give_tickets_back": "intervention-W2: tickets with another owner: of the day to",
    "take_out_suspension": "no-suspension: suspensions by Pancake: of the day to",
    "make_up_night": "zero-miss: hours without a reconciliation: of the day to",
    "make_up_checks": "no-suspension: hours without a check: of the day to",
    "take_out_second_source": "sources: sources that were active together: of the day to",
    "make_reconciliation_quick":
        "reconciliation-duration-W3: minutes of the longest reconciliation: of the day to",
}  # fmt: skip
"""Those that close no gate: by name their red notice."""
ON_RECORDS: Mapping[str, tuple[Callable[[Pilot], None], str, str]] = {
    "a beginning after the bad days": (attack_by_later_beginning, "W1", "success-rate (fail)"),
    "a record of a key that ended": (
        attack_by_long_ago, "W1", "dated before W1 began, and not there then: G-1",
    ),
    "W1 begun anew": (attack_by_beginning_anew, "W1", "W1 began anew, by lan@diva.example: five sources"),
    "what went before a new beginning": (
        attack_by_beginning_anew, "W1", "leads became tickets before W1 began",
    ),
    "the gate before forged": (
        attack_by_forged_gate, "W2",
        "judged again, these do not pass: held-share (fail), success-rate (fail)",
    ),
    "a wave that began long ago": (attack_by_old_beginning, "W2", "wave-length (inconclusive)"),
    **{
        f"a bad connection disabled, {shown}": (attack_by_disabling, "W4", shown)
        for shown in (
            "zero-miss (inconclusive)", "missing-W4 (inconclusive)", "no-suspension (inconclusive)",
            "signature-W4 (fail)", "allowlist-W4 (fail)",
        )
    },
}  # fmt: skip
"""By attack: how it is made, on which gate, and the criterion that closes the gate or the red notice."""


BAD_WEEK, KEPT, READ = "pancake_bad_week", "pancake_bad_week_kept", "pancake_bad_week_read"


def remembered(session: DbSession, figure: Figure) -> Callable[[float], list[str]]:
    """The series of a figure, as it was read from the database of a session."""

    def at(seconds: float) -> list[str]:
        until = datetime.fromtimestamp(seconds, UTC)
        window = {"from": until - DAY - timedelta(minutes=figure.earlier_minutes), "to": until}
        row = read_row(session, figure.sql, window) or {}
        return [str(row.get(figure.column) or 0)]

    return at


@pytest.fixture(scope="module")
def bad_week(cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pilot]:
    """W1 with all attested, kept closed by dead letters, held and missing leads, a suspension, a night."""
    folder = tmp_path_factory.mktemp("bad-week")
    with ExitStack() as stack:
        prometheus = stack.enter_context(fake_prometheus())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr("ops.golive.evaluation.entry_criteria", list)
        pilot = Pilot(cluster.create_database(BAD_WEEK, template), folder / "records", prometheus.url, days=8)
        pilot.seed(lead_days=8)
        pilot.sql(SWITCH_OFF)
        with clock_at(pilot.since + timedelta(minutes=5)):
            assert pilot.golive("begin", "W1", "--since", f"{pilot.since:%Y-%m-%dT%H:%M}").exit_code == 0
        attest_all(pilot, pilot.gate("W1"), folder)
        assert pilot.gate("W1")["is_open"]
        for name, statement in STATEMENTS.items():
            if name.startswith("bad_week/"):
                pilot.sql(statement)
        prometheus.values |= {
            RESULTS_OF_HANDLERS % DEAD_LETTER: ["10"], RESULTS_OF_HANDLERS % PROCESSED: ["690"],
        }  # fmt: skip
        # A database that is copied has no session.
        cluster.create_database(KEPT, BAD_WEEK)
        session = stack.enter_context(open_session(cluster.create_database(READ, BAD_WEEK), "test"))
        prometheus.values |= {figure.promql: remembered(session, figure) for figure in load_figures()}
        closed = pilot.gate("W1")
        assert [each["id"] for each in closed["criteria"] if each["outcome"] in ("fail", "inconclusive")] == [
            "held-share", "success-rate", "zero-miss", "no-suspension", "sources-W1",
        ]  # fmt: skip
        assert not any("of the day to" in each["en"] for each in closed["notices"])
        yield pilot
    for name in (BAD_WEEK, KEPT, READ):
        cluster.drop_database(name)


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


@pytest.mark.parametrize("name", [*ON_DATA, *ONLY_NAMED, *ON_RECORDS])
def test_who_wants_a_gate_open_from_a_bad_week_is_stopped_or_named_in_red(attacked: Pilot, name: str) -> None:
    """By a person who has the key of the release manager, the database and the code."""
    if name in ON_RECORDS:
        attack, gate, shown = ON_RECORDS[name]
        attack(attacked)
    else:
        gate, shown = "W1", (ON_DATA | ONLY_NAMED)[name]
        attacked.sql(STATEMENTS[f"attack/{name}"])
    found = attacked.gate(gate)
    assert any(shown in each for each in red_of(found)), red_of(found)
    assert not found["is_open"], "what is only named in red does not mend the rest of the week"


def test_all_attacks_on_data_together_open_a_gate_on_which_each_stands_in_red(attacked: Pilot) -> None:
    for name in ONLY_NAMED:
        attacked.sql(STATEMENTS[f"attack/{name}"])
    found = attacked.gate("W1")
    red = red_of(found)
    assert found["is_open"], red
    assert [name for name, shown in ONLY_NAMED.items() if not any(shown in each for each in red)] == []
    said = f"{len(ONLY_NAMED)} attacks on data together open a gate, on which each stands in red"
    assert said in (ROOT / "docs" / "security.md").read_text("utf-8")
