"""The fields of log lines are those in docs/logs.md: of real requests, of every message, of the edge."""

import ast
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from leads.adapters.logs import describe
from leads.services.cron_runs import CRONS
from tests.support.crons import CronHarness
from tests.support.leads import LEAD
from tests.support.logs import captured_logs
from tests.support.settings import EDGE_SECRET

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "logs.md").read_text("utf-8")
CODE = [path for folder in ("leads", "handlers", "cron") for path in sorted((ROOT / folder).rglob("*.py"))]
B3 = {"X-B3-TraceId": "0af7651916cd43dd8448eb211c80319c", "X-B3-SpanId": "b7ad6b7169203331"}
OTHER_TRACE = {"trace_id": "1" * 32, "span_id": "b7ad6b7169203331"}


def table(heading: str, number: int = 0) -> dict[str, list[str]]:
    """The rows of a table below a heading, by the code in their first cell; `number`: which table."""
    section = PAGE.partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"(?:^\|.*\n)+", section, re.M)
    rows = [re.split(r" *\| *", line)[1:-1] for line in blocks[number].splitlines()[2:]]
    return {row[0].strip("`"): row[1:] for row in rows}


def codes(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


@pytest.fixture
def harness(cron_harness: CronHarness) -> CronHarness:
    return cron_harness


async def all_kinds_of_requests(harness: CronHarness) -> None:
    """Serve a request of each route, and of each kind of answer to an event."""
    for name in CRONS:
        await harness.tick(name)
    event_id, _ = await harness.process_lead()
    await harness.fire(event_id)
    await harness.request_replay(ids=[event_id])
    await harness.call_action({"text": str(event_id)}, name="trace_lead")
    await harness.client.get("/edge/policy", headers={"X-Edge-Secret": EDGE_SECRET})
    await harness.client.post("/events/process_record", content=b"x", headers={**harness.headers, **B3})
    dead, _ = await harness.process_lead(id="no-phone", phone_number="x")
    await harness.fire(dead, "MANUAL", hasura_event_id="1b8f6c1e-3f1a-4f0e-9a51-0d6a8c1f7a11")
    harness.refuse_tickets("RAISE EXCEPTION 'broken'", 1)
    failed, result = await harness.process_lead(**LEAD | {"id": "other", "phone_number": "0905111223"})
    assert result == "failed"
    await harness.fire(failed)
    event = {"op": "INSERT", "data": {"new": {"id": 0}}, "trace_context": OTHER_TRACE}
    body = {"id": "e", "trigger": {"name": "pancake_webhook_event_status_update"}, "event": event}
    await harness.client.post("/events/process_record", json=body, headers={**harness.headers, **B3})


async def test_the_canonical_line_and_its_answers_have_the_documented_fields(harness: CronHarness) -> None:
    with captured_logs() as written:
        await all_kinds_of_requests(harness)
    lines = [line for line in map(json.loads, written) if line["message"] == "request"]
    every, canonical = table("## Every line of the handlers"), table("## The canonical line")
    of_exceptions = {name for name, (where, _) in every.items() if "exception" in where}
    assert of_exceptions == set(describe(ValueError()))
    assert {name for line in lines for name in line} == (set(every) | set(canonical)) - of_exceptions
    always = {name for name, (where, _) in every.items() if where == "every line"}
    assert all(always | set(canonical) | {"trace_id", "span_id"} <= set(line) for line in lines)

    documented = {route: codes(row[0]) for route, row in table("## The canonical line", 1).items()}
    refused = documented.pop("any, if refused or failed")
    seen: defaultdict[str, set[str]] = defaultdict(set)
    for line in lines:
        if line["status"] == 200:
            seen[re.sub(r"^/cron/.*", "/cron/…", line["route"])] |= set(line["answer"])
        else:
            assert set(line["answer"]) == refused, line
    assert dict(seen) == documented


@cache
def calls() -> list[tuple[str, str]]:
    """The message of each line that the code writes, and the code of the function around."""
    found = []
    for path in CODE:
        text = path.read_text("utf-8")
        if "LOGGER." not in text:
            continue
        for function in ast.walk(ast.parse(text)):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                segment = ast.get_source_segment(text, function) or ""
                found += [(message, segment) for message in _messages(function)]
    return found


def _messages(function: ast.AST) -> Iterator[str]:
    for node in ast.walk(function):
        name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Call) and (name.startswith("LOGGER.") or name == "_log"):
            yield from (
                argument.value
                for argument in node.args
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
            )


def test_every_message_of_the_code_is_documented_and_no_other() -> None:
    assert {message for message, _ in calls()} - {"request"} == set(table("## Other lines"))


def test_the_levels_and_fields_of_other_lines_are_in_the_code() -> None:
    source: defaultdict[str, str] = defaultdict(str)
    for message, text in calls():
        source[message] += text
    reporting = (ROOT / "leads/services/sending/reporting.py").read_text("utf-8")
    for message, (levels, fields, _) in table("## Other lines").items():
        text = source[message] + (reporting if message.startswith("notifications") else "")
        for name in codes(fields):
            assert f'"{name}"' in text, (message, name)
        for level in levels.split(", "):
            assert re.search(rf"\.{level}\b", text, re.I), (message, level)


def test_the_lines_of_the_edge_have_the_documented_fields() -> None:
    configuration = (ROOT / "deploy" / "nginx" / "nginx.conf").read_text("utf-8")
    form = configuration.partition("log_format edge")[2].partition(";\n")[0]
    assert re.findall(r'"(\w+)":', form) == list(table("## Lines of the edge"))
