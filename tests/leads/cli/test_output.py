"""What commands print of text that others wrote."""

import io
import json

import pytest
from rich.table import Table

from leads.cli.output import ForeignTextConsole, print_json, print_line, say
from leads.cli.reconcile.ledger import print_reports

FOREIGN = "[bold]x[/] :smile: \u202egnp\x1b]0;title\x07\x9b2J\u200b"
SHOWN = r"[bold]x[/] :smile: \u202egnp\u001b]0;title\u0007\u009b2J\u200b"


@pytest.fixture
def console() -> ForeignTextConsole:
    made = ForeignTextConsole()
    made.file, made.width = io.StringIO(), 200
    return made


def printed(console: ForeignTextConsole) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_lines_and_messages_escape_what_is_not_seen(capsys: pytest.CaptureFixture[str]) -> None:
    print_line(FOREIGN)
    say(FOREIGN)
    assert capsys.readouterr() == (f"{SHOWN}\n", f"{SHOWN}\n")


def test_a_json_document_escapes_it_and_stays_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": FOREIGN})
    out = capsys.readouterr().out
    assert "\u202e" not in out
    assert json.loads(out) == {"name": FOREIGN}


def test_tables_and_titles_escape_it_and_know_no_markup(console: ForeignTextConsole) -> None:
    table = Table("name", title=FOREIGN)
    table.add_row(FOREIGN)
    console.print(table)
    console.print(FOREIGN)
    assert printed(console).count(SHOWN) == 3


def test_the_reason_of_an_unreadable_day_is_printed_as_it_is(console: ForeignTextConsole) -> None:
    print_reports([{"connection_id": "c", "detail": FOREIGN}], console, dry_run=False)
    assert printed(console) == f"c: {SHOWN}\n"
