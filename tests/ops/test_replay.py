"""`leads replay`: it drains, waits its turn, follows the rows, reports; a dry run shows what would change."""

import json
import os
from collections.abc import Mapping
from functools import partial
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from typer.testing import Result

from ops.daily import replay as verb
from ops.metadata.directory import role_of_action
from tests.support.operators import leads

WIDTH = 80
COUNTS = ("matched", "replayed", "remaining", "changed", "returned", "arrived", "held")
HANH = {"id": "c0000000-0000-4000-8000-000000000001", "full_name": "Vũ Thị Hạnh"}
KHOA = {"id": "c0000000-0000-4000-8000-000000000002", "full_name": "Đặng Văn Khoa"}
Row = dict[str, Any]


def row(event_id: int, status: str = "processed", **fields: Any) -> Row:
    names = ("outcome", "result", "held_by", "error_code", "ticket_id", "assignee_id")
    return {"id": event_id, "status": status, **dict.fromkeys(names)} | fields


def ticket(event_id: int, owner: Mapping[str, str] | None, outcome: str = "ticket_created") -> Row:
    change: Row = {"result": outcome, "outcome": "ticket_created", "ticket_id": f"t-{event_id}"}
    return row(event_id) | change | {"assignee_id": owner["id"] if owner else None}


def make_report(ids: list[int], **fields: Any) -> Row:
    rest = {"dry_run": False, "rate_per_second": 20, "refused": [], "changes": [], "results": None}
    return dict.fromkeys(COUNTS, 0) | rest | {"replayed_ids": ids, "processing_paused": False} | fields


class ReplayEngine:
    """Answers the action with the given ids, then each question for the rows with the next state of them.

    Their ids are text, as HASURA_GRAPHQL_STRINGIFY_NUMERIC_TYPES makes an engine give a bigint.
    """

    def __init__(self, *states: list[Row], paused: bool = False, **report: Any) -> None:
        self.states = list(states)
        self.paused = paused
        self.report = report
        self.calls: list[dict[str, Any]] = []
        """What single calls of the action answer instead."""
        self.requests: list[dict[str, Any]] = []
        self.headers = httpx.Headers()

    def answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.requests.append(body)
        self.headers = request.headers
        if self.calls and "errors" in self.calls[0]:
            return httpx.Response(200, json=self.calls.pop(0))
        return httpx.Response(200, json={"data": self._data(body)})

    def _data(self, body: dict[str, Any]) -> dict[str, Any]:
        if "pancake_replay_events" in body["query"]:
            ids = [item["id"] for item in self.states[0]] if self.states else []
            counts = {"matched": len(ids), "replayed": len(ids)} | self.report
            report = make_report(ids, processing_paused=self.paused, **counts)
            if self.calls:
                report |= self.calls.pop(0)
            return {"pancake_replay_events": report}
        if "staff(" in body["query"]:
            return {"staff": [owner for owner in (HANH, KHOA) if owner["id"] in body["variables"]["ids"]]}
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        asked = set(body["variables"]["ids"])
        rows = [item | {"id": str(item["id"])} for item in state if item["id"] in asked]
        return {"pancake_webhook_event": rows, "view_pancake_setting": [{"processing_paused": self.paused}]}


def refusing(code: str, message: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": code}}]}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["17"], "HASURA_URL is not set"),
        (["17", "--status", "failed"], "either ids or a filter"),
        (["--status", "bogus"], "filter.status is not one of"),
        (["--status", "failed", "--since", "yesterday"], "filter.from is neither a date nor a time"),
        (["17", "18", "--corrected-phone", "0905111222"], "corrected_phone belongs to one event"),
        ([], "Give event ids, or --status, --error-code, --source, --day or --since."),
        (["--until", "2026-05-14"], "Give event ids, or --status, --error-code, --source, --day or --since."),
        (["--day", "2026-05-14", "--since", "2026-05-14"], "either --day, or --since and --until"),
        (["--drain", "--status", "dead_letter"], "--drain is for --status skipped_kill_switch"),
        (["--drain", "--dry-run", "--status", "skipped_kill_switch"], "--drain is for"),
    ],
)
def test_an_order_that_cannot_be_given_ends_with_2_and_says_why(arguments: list[str], words: str) -> None:
    result = leads("replay", *arguments, HASURA_URL="")
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())


def run(engine: ReplayEngine, *arguments: str, typed: str | None = None) -> Result:
    """Let the command call this engine, without waiting between two questions."""
    environment = {"HASURA_URL": "http://hasura", "HASURA_ADMIN_SECRET": "secret", "COLUMNS": str(WIDTH)}
    opened = partial(verb.open_engine, transport=httpx.MockTransport(engine.answer))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verb, "open_engine", opened)
        patch.setattr(verb, "BUSY_WAIT_SECONDS", 0)
        patch.setattr(verb, "POLL_SECONDS", 0)
        patch.setattr(verb, "MAX_SECONDS_WITHOUT_PROGRESS", 0.3)
        return leads("replay", *arguments, typed=typed, **environment)


def test_a_corrected_phone_need_not_be_an_argument() -> None:
    engine = ReplayEngine([ticket(17, HANH)])
    assert run(engine, "17", "--corrected-phone", "-", typed="0905111222\n").exit_code == 0
    assert engine.requests[0]["variables"]["corrected_phone"] == "0905111222"


def test_it_replays_where_the_user_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs with a number."""
    monkeypatch.setattr("getpass.getuser", Mock(side_effect=KeyError))
    engine = ReplayEngine([ticket(17, HANH)])
    assert run(engine, "17").exit_code == 0
    assert engine.headers["x-hasura-user-id"] == f"script:uid {os.getuid()}"


def test_a_day_needs_no_status_and_a_period_ends_with_its_last_day() -> None:
    for words, given in (
        (("--day", "2026-05-14"), {"from": "2026-05-14", "to": "2026-05-15"}),
        (("--since", "2026-05-30", "--until", "2026-05-31"), {"from": "2026-05-30", "to": "2026-06-01"}),
        (
            ("--since", "2026-05-30", "--until", "2026-05-31T08:00"),
            {"from": "2026-05-30", "to": "2026-05-31T08:00"},
        ),
    ):
        engine = ReplayEngine()
        assert run(engine, *words, "--no-wait").exit_code == 0
        assert engine.requests[0]["variables"]["filter"] == given


DRAIN = ("--status", "skipped_kill_switch", "--drain")


def test_a_drain_goes_on_until_nothing_is_held_and_its_sums_balance() -> None:
    """12 held at first; 1 arrived in the first call, 2 between the calls."""
    engine = ReplayEngine()
    engine.calls = [
        {"matched": 12, "replayed": 8, "held": 5, "arrived": 1, "replayed_ids": list(range(8))},
        {"matched": 7, "replayed": 7, "held": 0, "replayed_ids": list(range(8, 15))},
    ]
    total = json.loads(run(engine, *DRAIN, "--no-wait", "--json").stdout)
    assert (total["matched"], total["arrived"], total["replayed"], total["held"]) == (12, 3, 15, 0)
    assert total["matched"] + total["arrived"] == total["replayed"] + total["held"]
    assert total["replayed_ids"] == list(range(15))
    variables = engine.requests[0]["variables"]
    assert (variables["filter"], variables["wait"]) == ({"status": "skipped_kill_switch"}, False)
    # The caller is recorded, and has the role that may call the action.
    assert engine.headers["x-hasura-role"] == role_of_action("pancake_replay_events")
    assert engine.headers["x-hasura-user-id"].startswith("script:")


def test_it_says_once_that_it_waits_for_another_replay_and_passes_a_refusal_on() -> None:
    engine = ReplayEngine([ticket(1, HANH)])
    engine.calls = [refusing("busy", "Another replay is running")] * 2
    result = run(engine, "1", "--no-wait")
    assert (result.exit_code, len(engine.requests)) == (0, 3)
    assert result.stderr == "Another replay is running. Waiting up to 60 s until it ends ...\n"
    engine.calls = [refusing("kill_switch_on", "The kill switch is on: turn it off")]
    result = run(engine, "1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Hasura refused the replay: The kill switch is on: turn it off\n"


def test_it_follows_the_rows_until_they_are_at_rest_and_reports_tickets_and_owners() -> None:
    engine = ReplayEngine(
        [row(1, "received"), row(2, "received"), row(3, "received")],
        [ticket(1, HANH), row(2, "ingested"), row(3, "received")],
        [ticket(2, HANH), ticket(3, KHOA, "ticket_updated")],
    )
    result = run(engine, "1", "2", "3")
    assert result.exit_code == 0
    shown = [" ".join(line.split()) for line in result.stdout.splitlines()[1:]]
    assert shown == ["ticket_created 2", "ticket_updated 1", "owner Vũ Thị Hạnh 2", "owner Đặng Văn Khoa 1"]
    asked = [request["variables"]["ids"] for request in engine.requests[1:-1]]
    assert asked == [[1, 2, 3], [1, 2, 3], [2, 3]]


def test_rows_that_did_not_become_a_ticket_are_reported_with_the_reason_and_exit_code_1() -> None:
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
    result = run(ReplayEngine(rows), *"12345678")
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


def test_rows_that_wait_are_reported_after_a_bounded_time_with_the_pause_that_is_the_reason() -> None:
    for paused, said in (
        (True, "1 row waits because processing is paused (setting processing_paused)."),
        (False, "1 row still waits"),
    ):
        engine = ReplayEngine([row(17, "received"), ticket(18, HANH)], paused=paused)
        result = run(engine, "17", "18")
        assert (result.exit_code, result.stdout.split()[-2:]) == (1, ["waiting", "1"])
        assert said in result.stderr
        asked = len(engine.requests)
        result = run(engine, "17", "--no-wait")
        assert (result.exit_code, len(engine.requests) - asked) == (0, 1)
        assert ("The rows wait because processing is paused" in result.stderr) is paused
        assert not paused or asked == 3, "the call, the rows once, the owners"


def test_json_has_the_results() -> None:
    engine = ReplayEngine([ticket(1, HANH), row(2, "dead_letter", error_code="invalid_phone")])
    document = json.loads(run(engine, "1", "2", "--json").stdout)
    assert document["results"] == {
        "outcomes": {"ticket_created": 1}, "held": {}, "failed": {}, "dead_letter": {"invalid_phone": 1},
        "waiting": 0, "owners": [{"id": HANH["id"], "tickets": 1}], "unassigned": 0,
    }  # fmt: skip
    assert (document["replayed_ids"], document["processing_paused"]) == ([1, 2], False)
    document = json.loads(run(ReplayEngine([row(17)]), "17", "--json", "--no-wait").stdout)
    assert document["results"] is None


def test_a_drain_follows_the_rows_of_all_its_calls() -> None:
    engine = ReplayEngine([ticket(number, HANH) for number in range(1, 1501)])
    result = run(engine, *DRAIN)
    assert result.exit_code == 0
    assert "ticket_created     1500" in result.stdout
    assert [len(request["variables"]["ids"]) for request in engine.requests[1:]] == [1000, 500, 1]


def test_a_drain_that_stops_on_its_way_reports_what_it_did() -> None:
    engine = ReplayEngine([ticket(1, HANH), ticket(2, KHOA)])
    engine.calls = [
        {"matched": 5, "replayed": 2, "remaining": 3, "held": 3},
        {"matched": 3, "replayed": 0, "remaining": 3, "held": 3, "replayed_ids": []},
    ]
    result = run(engine, *DRAIN)
    assert result.exit_code == 1
    assert "3 rows are held and the last call replayed none of them" in result.stderr
    assert result.stdout.splitlines()[0].startswith("matched 5  replayed 2  remaining 3")
    assert "ticket_created       2" in result.stdout


def test_what_is_known_is_reported_when_the_command_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    result = run(ReplayEngine([ticket(1, HANH), row(2, "received")]), "1", "2")
    assert result.exit_code == 130
    lines = [line.split() for line in result.stdout.splitlines()]
    assert all(line in lines for line in (["ticket_created", "1"], ["waiting", "1"]))


def changed(before: Row | None, **after: Any) -> dict[str, Any]:
    return {"before": before, "after": (before or {}) | after}


TITLE = "Lead Pancake: Nguyễn Văn A"
TICKET: Row = {"id": "t", "title": TITLE, "assignee_id": None, "data": {"pancake": {"tags": []}}}
MEMBER = {"id": "r", "staff_id": KHOA["id"], "assigned_count": 3, "was_available": True}
OTHER_CONTACT = {"id": "e", "primary_phone": "+84905111444", "name": "A"}
CHANGES: list[dict[str, Any]] = [
    {
        "event_id": 17, "result": "ticket_updated", "account": None, "contact": changed(None, id="c"),
        "ticket": changed(
            TICKET, title=f"{TITLE}, từ một chiến dịch quảng cáo với cái tên rất dài", assignee_id=HANH["id"],
            data={"pancake": {"tags": ["hot"], "address": "x" * 200, "written": {"title": "k:0a1b"}}},
        ),
        "other_contacts": [
            changed(None, id="d", primary_phone="+84905111333", name="A"),
            changed(OTHER_CONTACT, name="Nguyễn Văn A " + "b" * 90),
        ],
        "roster": [changed(MEMBER, assigned_count=4)], "owner": HANH["id"],
        "notifications": [
            {"name": "lead_updated", "recipient_ids": [HANH["id"]]},
            {"name": "phone_changed", "recipient_ids": [HANH["id"], KHOA["id"]]},
        ],
    },
    {"event_id": 18, "result": "dead_letter", "error_code": "invalid_phone", "error_detail": "No phone: 09"},
    {"event_id": 19, "result": "no_change"},
]  # fmt: skip


def test_a_dry_run_is_shown_event_by_event_and_nothing_is_cut() -> None:
    """It has names in place of ids, and no digests."""
    refused = [{"event_id": 9, "reason": "unknown_id"}]
    assert run(ReplayEngine(dry_run=True, changes=CHANGES), "17", "18", "19", "--dry-run").exit_code == 0
    result = run(ReplayEngine(dry_run=True, changes=CHANGES, refused=refused), "9", "17", "18", "--dry-run")
    assert result.exit_code == 1
    assert not {HANH["id"], KHOA["id"], "k:0a1b"} & set(result.stdout.split())
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= WIDTH
    words = "".join(result.stdout.split())
    for expected in (
        "event 9 refused: unknown_id",
        "event 17: ticket_updated",
        "contact: new",
        "title Lead Pancake: Nguyễn Văn A → Lead Pancake: Nguyễn Văn A, từ một chiến dịch quảng cáo với cái",
        f"address none → {'x' * 200}",
        "other contact +84905111333: new name A",
        f"other contact +84905111444 name A → Nguyễn Văn A {'b' * 90}",
        "event 18: dead_letter, invalid_phone: No phone: 09",
        "event 19: no_change, nothing changes",
        "3 events: dead_letter 1, no_change 1, ticket_updated 1",
    ):
        assert "".join(expected.split()) in words, expected
    roster = lines.index("  roster")
    assert lines[roster + 1] == "    Đặng Văn Khoa  assigned_count 3 → 4"
    assert lines[roster + 2 : roster + 6] == [
        "  people",
        "    owner         Vũ Thị Hạnh",
        "    would notify  Vũ Thị Hạnh: lead_updated",
        "    would notify  Vũ Thị Hạnh, Đặng Văn Khoa: phone_changed",
    ]
