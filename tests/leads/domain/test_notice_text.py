"""Each notice has a Vietnamese title and text with what to do, for every reason that the program can give."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest
from typer.main import get_command

from leads.cli.__main__ import app
from leads.domain.notice_text import MAX_TEXT_CHARACTERS, MAX_TITLE_CHARACTERS, TEXTS, with_text
from leads.domain.notifications import TICKET_RECALLED

ROOT = Path(__file__).parents[3]
TABLES = ROOT / "hasura/migrations/default/1777870069931_create_pancake_tables/up.sql"
DOCS = ROOT / "docs/runbook/notifications.md"
BEGIN, END = "<!-- notices: begin -->\n", "<!-- notices: end -->\n"


def statuses() -> list[str]:
    """Return the statuses that a connection can have, from the CHECK constraint."""
    constraint = re.search(r"ck_pancake_connection_status CHECK \(\s*status IN \((.*?)\)", TABLES.read_text())
    assert constraint
    return re.findall(r"'(\w+)'", constraint[1])


def reasons_of(expression: ast.expr, function: ast.AST) -> Iterator[str]:
    """Return the reasons that an argument of AdminNotice can be."""
    if isinstance(expression, ast.Constant):
        yield str(expression.value)
    elif isinstance(expression, ast.JoinedStr):
        assert ast.unparse(expression).startswith("f'connection_{"), ast.unparse(expression)
        yield from (f"connection_{status}" for status in statuses())
    else:
        mappings = [each for each in ast.walk(function) if isinstance(each, ast.Dict)]
        yield from (str(key.value) for each in mappings for key in each.keys if isinstance(key, ast.Constant))


def notice_reasons() -> Iterator[str]:
    for path in [*ROOT.glob("leads/**/*.py"), *ROOT.glob("cron/*.py")]:
        functions = [
            each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.FunctionDef)
        ]
        for function in functions:
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "AdminNotice":
                    named = {each.arg: each.value for each in call.keywords}
                    yield from reasons_of(named["reason"] if "reason" in named else call.args[1], function)


def event_reasons() -> Iterator[str]:
    """Return the reasons of decide.py, notifications.py and the statements."""
    decide = (ROOT / "leads/domain/decide.py").read_text()
    yield from re.findall(r'attention=? ?=? ?\((?:\*[\w.]+, )?"(\w+)",?\)', decide)
    yield from re.findall(r'_attention\("(\w+)"', (ROOT / "leads/domain/notifications.py").read_text())
    yield TICKET_RECALLED
    for path in ROOT.glob("sql/**/*.sql"):
        yield from re.findall(r"'reason', '(\w+)', 'detail'", path.read_text())


def test_every_reason_that_can_occur_has_a_text_and_no_other() -> None:
    found = {*notice_reasons(), *event_reasons()}
    assert {"new_source", "filter_ignored", "connection_outage", "phone_changed", "sla_missed"} <= found
    assert found == set(TEXTS)


@pytest.mark.parametrize("reason", TEXTS)
def test_a_text_has_a_title_and_commands_that_exist_and_is_short_with_the_longest_values(reason: str) -> None:
    text = TEXTS[reason]
    names = {name for _, name, _, _ in Formatter().parse(text.sentences()) if name}
    data = with_text({"reason": reason, **dict.fromkeys(names, "x" * 9000)})
    assert len(text.title) <= MAX_TITLE_CHARACTERS
    assert len(str(data["text"])) <= MAX_TEXT_CHARACTERS
    assert text.happened.endswith(".")
    verbs = get_command(app).commands  # type: ignore[attr-defined]
    for command in re.findall(r"leads ([a-z]+(?: [a-z][a-z-]+)?)", text.to_do):
        verb, *rest = command.split()
        group = getattr(verbs[verb], "commands", None)
        assert group is None or rest[0] in group, command


def test_a_notice_without_a_value_or_a_known_reason_can_be_sent() -> None:
    lacking = with_text({"reason": "sla_missed", "detail": ""})
    assert str(lacking["text"]).startswith("Ticket (không rõ) chưa có phản hồi")
    assert with_text({"reason": "later", "detail": "d"})["text"] == "later: d"


def test_a_value_is_one_line_and_is_not_read_as_a_template() -> None:
    data = with_text({"reason": "connection_active", "connection": "A\n{reason}\u202e", "detail": "a → b"})
    assert str(data["text"]).startswith("Kết nối A {reason} hoạt động bình thường (a → b).")


def test_the_runbook_lists_every_notice() -> None:
    rows = ["| `reason` | title | text |", "|---|---|---|"]
    rows += [f"| `{name}` | {text.title} | {text.sentences()} |" for name, text in TEXTS.items()]
    page = DOCS.read_text("utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    made = before + BEGIN + "\n".join(rows) + "\n" + END + after
    if os.environ.get("WRITE_DOCS"):
        DOCS.write_text(made, "utf-8")
    assert DOCS.read_text("utf-8") == made
