"""`leads replay` reports what the rows became, and a dry run what would change, on 80 columns."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import httpx
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from leads.adapters.hasura_admin import HasuraAdmin
from leads.cli.__main__ import app
from leads.cli.replay import following
from leads.cli.replay.action import ReplayAction, session_headers
from leads.cli.replay.report import print_report
from tests.support.replay_engine import HANH, KHOA, ReplayEngine, row, ticket

WIDTH = 80


@contextmanager
def engine_of(monkeypatch: pytest.MonkeyPatch, engine: ReplayEngine) -> Iterator[None]:
    """Let the command call this engine, without waiting between two questions."""
    hasura = HasuraAdmin(
        "http://hasura", "secret", session_headers(), transport=httpx.MockTransport(engine.answer)
    )
    with monkeypatch.context() as patch:
        patch.setenv("HASURA_URL", "http://hasura")
        patch.setenv("HASURA_ADMIN_SECRET", "secret")
        patch.setattr(ReplayAction, "at", lambda url, secret: ReplayAction(hasura))
        patch.setattr(following, "POLL_SECONDS", 0)
        patch.setattr(following, "MAX_SECONDS_WITHOUT_PROGRESS", 0.3)
        yield


def run(monkeypatch: pytest.MonkeyPatch, engine: ReplayEngine, *arguments: str) -> Result:
    with engine_of(monkeypatch, engine):
        return CliRunner().invoke(app, ["replay", *arguments], env={"COLUMNS": str(WIDTH)})


def test_it_follows_the_rows_until_they_are_at_rest_and_reports_tickets_and_owners(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = ReplayEngine(
        [row(1, "received"), row(2, "received"), row(3, "received")],
        [ticket(1, HANH), row(2, "ingested"), row(3, "received")],
        [ticket(2, HANH), ticket(3, KHOA, "ticket_updated")],
    )
    result = run(monkeypatch, engine, "1", "2", "3")
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()[1:]] == [
        ["ticket_created", "2"],
        ["ticket_updated", "1"],
        ["owner", "Vũ", "Thị", "Hạnh", "2"],
        ["owner", "Đặng", "Văn", "Khoa", "1"],
    ]
    asked = [request["variables"]["ids"] for request in engine.requests[1:-1]]
    assert asked == [[1, 2, 3], [1, 2, 3], [2, 3]]


def test_rows_that_did_not_become_a_ticket_are_reported_with_the_reason_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [
        row(1, outcome="ticket_created", result="no_change"),
        row(2, "skipped_source_disabled"),
        row(3, "failed", error_code="contended"),
        row(4, "dead_letter", error_code="invalid_phone"),
        row(5, "dead_letter", error_code="invalid_phone"),
        ticket(6, None),
        row(7, "skipped_source_disabled", held_by="connection_disabled"),
        row(8, "skipped_kill_switch"),
    ]
    result = run(monkeypatch, ReplayEngine(rows), *"12345678")
    assert result.exit_code == 1
    assert [" ".join(line.split()) for line in result.stdout.splitlines()[1:]] == [
        "no_change 1",
        "ticket_created 1",
        "held again: connection_disabled 1",
        "held again: kill_switch 1",
        "held again: source_inactive 1",
        "failed, will be retried: contended 1",
        "dead_letter: invalid_phone 2",
        "without an owner 1",
    ]


def test_a_pause_is_named_as_the_reason_why_rows_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ReplayEngine([row(17, "received")], paused=True)
    result = run(monkeypatch, engine, "17")
    assert result.exit_code == 1
    assert "waiting  1" in result.stdout
    assert "1 row waits because processing is paused (setting processing_paused)." in result.stderr
    assert len(engine.requests) == 2


def test_rows_that_do_not_come_to_rest_are_reported_after_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = run(monkeypatch, ReplayEngine([row(17, "received"), ticket(18, HANH)]), "17", "18")
    assert result.exit_code == 1
    assert result.stdout.split()[-2:] == ["waiting", "1"]
    assert "1 row still waits" in result.stderr


def test_no_wait_asks_for_no_results(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ReplayEngine([row(17, "received")])
    result = run(monkeypatch, engine, "17", "--no-wait")
    assert (result.exit_code, len(engine.requests)) == (0, 1)
    engine = ReplayEngine([row(17, "received")], paused=True)
    result = run(monkeypatch, engine, "17", "--no-wait")
    assert "The rows wait because processing is paused" in result.stderr


def test_json_has_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ReplayEngine([ticket(1, HANH), row(2, "dead_letter", error_code="invalid_phone")])
    result = run(monkeypatch, engine, "1", "2", "--json")
    document = json.loads(result.stdout)
    assert document["results"] == {
        "outcomes": {"ticket_created": 1},
        "held": {},
        "failed": {},
        "dead_letter": {"invalid_phone": 1},
        "waiting": 0,
        "owners": [{"id": HANH["id"], "tickets": 1}],
        "unassigned": 0,
    }
    assert (document["replayed_ids"], document["processing_paused"]) == ([1, 2], False)
    document = json.loads(run(monkeypatch, ReplayEngine([row(17)]), "17", "--json", "--no-wait").stdout)
    assert document["results"] is None


def test_a_drain_follows_the_rows_of_all_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ReplayEngine([ticket(number, HANH) for number in range(1, 1501)])
    arguments = ("--status", "skipped_kill_switch", "--drain")
    result = run(monkeypatch, engine, *arguments)
    assert result.exit_code == 0
    assert "ticket_created     1500" in result.stdout
    assert [len(request["variables"]["ids"]) for request in engine.requests[1:]] == [1000, 500, 1]


def test_a_drain_that_stops_on_its_way_reports_what_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ReplayEngine([ticket(1, HANH), ticket(2, KHOA)])
    engine.calls = [
        {"matched": 5, "replayed": 2, "remaining": 3, "held": 3},
        {"matched": 3, "replayed": 0, "remaining": 3, "held": 3, "replayed_ids": []},
    ]
    result = run(monkeypatch, engine, "--status", "skipped_kill_switch", "--drain")
    assert result.exit_code == 1
    assert "3 rows are held and the last call replayed none of them" in result.stderr
    assert result.stdout.splitlines()[0].startswith("matched 5  replayed 2  remaining 3")
    assert "ticket_created       2" in result.stdout


def test_ids_may_be_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """HASURA_GRAPHQL_STRINGIFY_NUMERIC_TYPES makes the engine give a bigint as text."""
    engine = ReplayEngine([ticket(1, HANH)])
    answer = engine.data

    def stringified(body: dict[str, Any]) -> dict[str, Any]:
        data = answer(body)
        for item in data.get("pancake_webhook_event", []):
            item["id"] = str(item["id"])
        return data

    engine.data = stringified  # type: ignore[method-assign]
    assert run(monkeypatch, engine, "1").exit_code == 0


def test_what_is_known_is_reported_when_the_command_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    result = run(monkeypatch, ReplayEngine([ticket(1, HANH), row(2, "received")]), "1", "2")
    assert result.exit_code == 130
    assert ["ticket_created", "1"] in [line.split() for line in result.stdout.splitlines()]
    assert ["waiting", "1"] in [line.split() for line in result.stdout.splitlines()]


CHANGES: list[dict[str, Any]] = [
    {
        "event_id": 17,
        "result": "ticket_updated",
        "account": None,
        "contact": {"before": None, "after": {"id": "c"}},
        "ticket": {
            "before": {
                "id": "t",
                "title": "Lead Pancake: Nguyễn Văn A",
                "assignee_id": None,
                "data": {"pancake": {"tags": []}},
            },
            "after": {
                "id": "t",
                "title": "Lead Pancake: Nguyễn Văn A, từ một chiến dịch quảng cáo với cái tên rất dài",
                "assignee_id": HANH["id"],
                "data": {"pancake": {"tags": ["hot"], "address": "x" * 200, "written": {"title": "k:0a1b"}}},
            },
        },
        "other_contacts": [
            {"before": None, "after": {"id": "d", "primary_phone": "+84905111333", "name": "A"}},
            {
                "before": {"id": "e", "primary_phone": "+84905111444", "name": "A"},
                "after": {"id": "e", "primary_phone": "+84905111444", "name": "Nguyễn Văn A " + "b" * 90},
            },
        ],
        "roster": [
            {
                "before": {"id": "r", "staff_id": KHOA["id"], "assigned_count": 3, "was_available": True},
                "after": {"id": "r", "staff_id": KHOA["id"], "assigned_count": 4, "was_available": True},
            },
        ],
        "owner": HANH["id"],
        "notifications": [
            {"name": "lead_updated", "recipient_ids": [HANH["id"]]},
            {"name": "phone_changed", "recipient_ids": [HANH["id"], KHOA["id"]]},
        ],
    },
    {"event_id": 18, "result": "dead_letter", "error_code": "invalid_phone", "error_detail": "No phone: 09"},
]


def shown(found: dict[str, Any]) -> list[str]:
    output = StringIO()
    print_report(found, Console(file=output, width=WIDTH))
    return output.getvalue().splitlines()


@pytest.fixture
def dry_run() -> dict[str, Any]:
    engine = ReplayEngine(
        dry_run=True, changes=CHANGES, matched=2, refused=[{"event_id": 9, "reason": "unknown_id"}]
    )
    report: dict[str, Any] = engine.data({"query": "pancake_replay_events"})["pancake_replay_events"]
    return report


def test_a_dry_run_is_shown_event_by_event_and_nothing_is_cut(dry_run: dict[str, Any]) -> None:
    lines = shown(dry_run)
    assert max(map(len, lines)) <= WIDTH
    text = "\n".join(lines)
    words = "".join(text.split())
    for expected in (
        "event 9 refused: unknown_id",
        "event 17: ticket_updated",
        "contact: new",
        "title Lead Pancake: Nguyễn Văn A → Lead Pancake: Nguyễn Văn A, từ một chiến dịch quảng cáo với cái",
        f"address none → {'x' * 200}",
        "other contact +84905111333: new name A",
        f"other contact +84905111444 name A → Nguyễn Văn A {'b' * 90}",
        "event 18: dead_letter, invalid_phone: No phone: 09",
        "2 events: dead_letter 1, ticket_updated 1",
    ):
        assert "".join(expected.split()) in words, expected


def test_a_dry_run_has_names_in_place_of_ids_and_no_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ReplayEngine(dry_run=True, changes=CHANGES)
    result = run(monkeypatch, engine, "17", "18", "--dry-run")
    assert result.exit_code == 0
    assert not {HANH["id"], KHOA["id"], "k:0a1b"} & set(result.stdout.split())
    lines = result.stdout.splitlines()
    roster = lines.index("  roster")
    assert lines[roster + 1] == "    Đặng Văn Khoa  assigned_count 3 → 4"
    assert lines[roster + 2 : roster + 6] == [
        "  people",
        "    owner         Vũ Thị Hạnh",
        "    would notify  Vũ Thị Hạnh: lead_updated",
        "    would notify  Vũ Thị Hạnh, Đặng Văn Khoa: phone_changed",
    ]


def test_the_fields_of_a_part_are_aligned_and_a_long_change_is_on_two_lines(dry_run: dict[str, Any]) -> None:
    lines = shown(dry_run)
    assert "  contact: new" in lines
    ticket = lines.index("  ticket")
    assert lines[ticket + 1] == f"    assignee  none → {HANH['id'][:8]}…"
    assert lines[ticket + 2 : ticket + 4] == ["    address   none", f"              → {'x' * 64}"]
    title = next(number for number, line in enumerate(lines) if line.startswith("    title "))
    assert lines[title] == "    title     Lead Pancake: Nguyễn Văn A"
    assert lines[title + 1].startswith("              → Lead Pancake: Nguyễn Văn A, từ")
    assert "    tags      none → hot" in lines


def test_an_event_that_changes_nothing_says_so() -> None:
    report = {"refused": [], "results": None, "changes": [{"event_id": 19, "result": "no_change"}]}
    counts = dict.fromkeys(("matched", "replayed", "remaining", "changed", "returned", "arrived", "held"), 0)
    assert "event 19: no_change, nothing changes" in shown(report | counts)
