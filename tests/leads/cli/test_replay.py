"""`leads replay`: it drains call by call, waits its turn, and says what went wrong."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from leads.adapters.hasura_admin import HasuraAdmin
from leads.cli.__main__ import app
from leads.cli.failures import CommandFailed
from leads.cli.metadata.directory import role_of_action
from leads.cli.output import progress_bar
from leads.cli.replay.action import ReplayAction, session_headers
from leads.cli.replay.draining import Drain
from leads.domain.errors import HasuraUnavailable

RUNBOOK = Path(__file__).parents[3] / "docs" / "runbook" / "replay.md"
DOCUMENTED = re.findall(r"`leads replay (.+?)`", RUNBOOK.read_text("utf-8"))
ORDER = {"filter": {"status": "skipped_kill_switch"}}


def report(matched: int, replayed: int, held: int, arrived: int = 0) -> dict[str, Any]:
    """What the action answers."""
    return {
        "dry_run": False,
        "matched": matched,
        "replayed": replayed,
        "remaining": held - arrived,
        "changed": 0,
        "returned": 0,
        "arrived": arrived,
        "held": held,
        "rate_per_second": 20,
        "refused": [],
        "changes": [],
        "replayed_ids": list(range(1, replayed + 1)),
        "results": None,
        "processing_paused": False,
    }


def answering(*answers: dict[str, Any] | httpx.Response) -> tuple[ReplayAction, list[httpx.Request]]:
    """An action that gives these answers in turn: reports, errors, or whole responses."""
    requests: list[httpx.Request] = []
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        item = left.pop(0)
        if isinstance(item, httpx.Response):
            return item
        body = item if "errors" in item else {"data": {"pancake_replay_events": item}}
        return httpx.Response(200, json=body)

    hasura = HasuraAdmin(
        "http://hasura/", "the-secret", session_headers(), transport=httpx.MockTransport(answer)
    )
    return ReplayAction(hasura, busy_wait_seconds=0), requests


def refusing(code: str, message: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": code}}]}


def test_a_drain_goes_on_until_nothing_is_held_and_its_sums_balance() -> None:
    """12 held at first; 1 arrived in the first call, 2 between the calls."""
    action, requests = answering(report(12, 8, 5, arrived=1), report(7, 7, 0))
    drain = Drain()
    drain.run(action, ORDER, progress_bar())
    total = drain.report
    assert (total["matched"], total["arrived"], total["replayed"], total["held"]) == (12, 3, 15, 0)
    assert total["matched"] + total["arrived"] == total["replayed"] + total["held"]
    assert json.loads(requests[0].content)["variables"] == ORDER | {"wait": False}
    assert len(total["replayed_ids"]) == 15


def test_a_drain_that_moves_nothing_ends_with_a_hint() -> None:
    action, _ = answering(report(3, 0, 3))
    with pytest.raises(CommandFailed, match="3 rows are held and the last call replayed none of them"):
        Drain().run(action, ORDER, progress_bar())


def test_who_calls_is_recorded_and_the_role_is_the_one_that_may_call_the_action() -> None:
    action, requests = answering(report(1, 1, 0))
    action.call(ORDER)
    assert requests[0].headers["x-hasura-role"] == role_of_action("pancake_replay_events")
    assert requests[0].headers["x-hasura-user-id"].startswith("script:")


def test_it_says_once_that_it_waits_for_another_replay(capsys: pytest.CaptureFixture[str]) -> None:
    busy = refusing("busy", "Another replay is running")
    action, requests = answering(busy, busy, report(1, 1, 0))
    assert action.call(ORDER)["replayed"] == 1
    assert len(requests) == 3
    waiting = "Another replay is running. Waiting up to 60 s until it ends ...\n"
    assert capsys.readouterr() == ("", waiting)


def test_a_refusal_is_passed_on_in_its_own_words() -> None:
    action, _ = answering(refusing("kill_switch_on", "The kill switch is on: turn it off"))
    with pytest.raises(
        CommandFailed, match=r"^Hasura refused the replay: The kill switch is on: turn it off$"
    ):
        action.call(ORDER)


@pytest.mark.parametrize("response", [httpx.Response(502), httpx.Response(200, text="<html>")])
def test_what_is_no_answer_of_hasura_is_named_without_the_secret(response: httpx.Response) -> None:
    action, _ = answering(response)
    with pytest.raises(
        HasuraUnavailable, match="http://hasura/v1/graphql does not answer as Hasura does"
    ) as error:
        action.call(ORDER)
    assert "the-secret" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["17"], "HASURA_URL is not set"),
        (["17", "--status", "failed"], "either ids or a filter"),
        (["--status", "bogus"], "filter.status is not one of"),
        (["--status", "failed", "--from", "yesterday"], "filter.from is neither a date nor a time"),
        (["17", "18", "--corrected-phone", "0905111222"], "corrected_phone belongs to one event"),
        ([], "Give event ids, or --status, --error-code or --source."),
        (["--from", "2026-05-14"], "Give event ids, or --status, --error-code or --source."),
        (["--drain", "--status", "dead_letter"], "--drain is for --status skipped_kill_switch"),
        (["--drain", "--dry-run", "--status", "skipped_kill_switch"], "--drain is for"),
    ],
)
def test_an_order_that_cannot_be_given_ends_with_2_and_says_why(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.delenv("HASURA_URL", raising=False)
    result = CliRunner().invoke(app, ["replay", *arguments])
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())


@pytest.mark.parametrize("line", DOCUMENTED)
def test_every_line_of_the_runbook_is_an_order(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """All that is missing is the engine."""
    monkeypatch.delenv("HASURA_URL", raising=False)
    result = CliRunner().invoke(app, ["replay", *shlex.split(line)])
    assert "HASURA_URL is not set" in result.output


def test_the_runbook_has_lines_to_test() -> None:
    assert any("--from" in line for line in DOCUMENTED)
