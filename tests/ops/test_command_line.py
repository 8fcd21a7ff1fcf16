"""All verbs alike: failures end with a message and an exit code of the table, foreign text is escaped."""

import ast
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from shlex import split
from traceback import format_exception
from typing import Any

import psycopg
import pytest
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from typer._click.exceptions import UsageError
from typer.core import TyperGroup
from typer.testing import CliRunner, Result

from leads.adapters.settings import SettingsError
from leads.domain.errors import (
    HostNotAllowed,
    IntegrationError,
    Misconfigured,
    PancakeKeyRejected,
    SecretUnreadable,
)
from ops.__main__ import NOT_INSTALLED
from ops.cli import ELSEWHERE, app
from ops.clients.db_session import open_session
from ops.clients.plain_http import NoAnswer
from ops.daily.reconcile import print_reports
from ops.failures import CommandFailed, VerbGroup, WrongUsage
from ops.golive.criterion import Source, load_criteria
from ops.output import (
    AsJson,
    ForeignTextConsole,
    changed_fields,
    print_changes,
    print_in_column,
    print_indented,
    print_json,
    print_line,
    say,
    shown,
)
from ops.switches import check_reason
from tests.support.operators import leads

ROOT = Path(__file__).parents[2]
LIBRARY_WORDS = ("Value error", "Input should", "%Y", "Errno", "parse")
FOREIGN = "[bold]x[/] :smile: \u202egnp\x1b]0;title\x07\x9b2J\u200b"
SHOWN = r"[bold]x[/] :smile: \u202egnp\u001b]0;title\u0007\u009b2J\u200b"


def run(*words: str, **variables: str) -> Result:
    return leads(*words, **{"COLUMNS": "80", "DATABASE_URL": "", "ENCRYPTION_KEYS": ""} | variables)


def run_python(program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def fail_with(error: BaseException, *arguments: str) -> Any:
    verbs = typer.Typer(cls=VerbGroup, pretty_exceptions_enable=False)

    @verbs.command()
    def verb(as_json: AsJson = False) -> None:
        raise error

    @verbs.command()
    def other() -> None:
        """A second command keeps the first one a command: Typer calls a single one without its name."""

    return CliRunner().invoke(verbs, ["verb", *arguments])


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (SettingsError("A is not set", "B is not set"), 2, "  A is not set\n  B is not set\nSet the variab"),
        (CommandFailed("It failed. Do this."), 1, "It failed. Do this.\n"),
        (WrongUsage("Give this."), 2, "Give this.\n"),
        (SecretUnreadable("not opened"), 2, "not opened\n"),
        (HostNotAllowed("not allowed"), 2, "not allowed\n"),
        (PancakeKeyRejected("rejected", status=401), 1, "Failed: rejected (pancake_key_rejected)"),
        (IntegrationError(), 1, "Failed: The integration failed. (internal)"),
        (psycopg.OperationalError("server closed the connection"), 3, "Could not reach the database"),
        (psycopg.errors.AdminShutdown("terminating"), 3, "Could not reach the database"),
        (psycopg.errors.UndefinedTable("no table"), 1, "The database refused a statement: no table"),
        (psycopg.errors.LockNotAvailable("locked"), 1, "The database refused a statement: locked"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_failure_has_its_message_and_code(error: BaseException, code: int, words: str) -> None:
    """Those of services that are away or refuse who asks are in golden/."""
    result = fail_with(error)
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_a_failure_is_a_document_too_if_it_is_asked_for_as_json() -> None:
    for error, code in (
        (WrongUsage("Gib: Đ\x1b"), 2),
        (typer.BadParameter("too long"), 2),
        (NoAnswer("x"), 3),
    ):
        result = fail_with(error, "--json")
        found = json.loads(result.stdout)
        assert (result.exit_code, found["exit_code"]) == (code, code)
        assert found["error"].splitlines()[0] in result.stderr.replace("\\u001b", "\x1b")
        assert "\x1b" not in result.stdout + result.stderr


def test_what_is_elsewhere_and_a_server_without_the_commands_say_where_it_is() -> None:
    result = run("serve")
    assert (result.exit_code, result.stderr) == (2, f"{ELSEWHERE['serve']}\n")
    assert "pancake-handlers" in result.stderr
    done = run_python("import sys\nsys.modules['typer'] = None\nfrom ops.__main__ import main\nmain()\n")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{NOT_INSTALLED}\n")


def test_sigterm_interrupts_as_ctrl_c_does() -> None:
    """The entry point turns it into the same exception, so that work ends in order."""
    program = (
        "import os, signal, time\n"
        "from ops import cli\n"
        "cli.app = lambda **_: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(10))\n"
        "try:\n    cli.run()\nexcept KeyboardInterrupt:\n    print('in order')\n"
    )
    done = run_python(program)
    assert (done.returncode, done.stdout) == (0, "in order\n"), signal.Signals(abs(done.returncode) or 1)


def test_a_refused_statement_is_reported_without_the_values_of_its_row(database: str) -> None:
    """PostgreSQL's DETAIL quotes the row: ciphertexts, or a customer's data."""
    with psycopg.connect(database) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute(
            "INSERT INTO pancake_connection (name, workspace_id, token_sha256, api_key_encrypted)"
            " VALUES ('x', 1, sha256('t'), NULL), ('x', 2, '\\x00', 'a secret')"
        )
    assert "secret" in str(caught.value) or "DETAIL" in str(caught.value)
    result = fail_with(caught.value)
    assert result.exit_code == 1
    assert result.stderr.startswith("The database refused a statement: ")
    assert "DETAIL" not in result.stderr
    assert "Failing row" not in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("report --week abc", "Invalid value for '--week': 'abc' is not a whole number."),
        ("report --week 99", "Invalid value for '--week': '99' is more than 53."),
        ("tail --last -1", "Invalid value for '--last': '-1' is less than 0."),
        ("alert test --timeout soon", "Invalid value for '--timeout': 'soon' is not a number."),
        ("report --since 1.5.2026", "'1.5.2026' is not understood.\n  Write it like 2026-05-14"),
        ("history --since now", "  Write it like 2026-05-14 or 2026-05-14T09:30"),
        ("history --since 0001-01-01", "'0001-01-01' is not understood."),
        (
            "history --of nix",
            "Invalid value for '--of': 'nix' is not one of:\n"
            "  connection, source, roster, setting, event, replay, erasure",
        ),
        ("trace a\0b", "Give a phone, a record id, a ticket code or an event id"),
        ("replay 17 \x1bx", "'\\u001bx' is not a whole number."),
        ("send happy", "scripts/sandbox send happy|no-phone|duplicate|FILE"),
        *((words, "") for words in ("nonsense", "replay --nonsense", "token admin")),
    ],
)
def test_a_wrong_word_is_wrong_usage_in_plain_words(words: str, said: str) -> None:
    result = run(*words.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert not [word for word in LIBRARY_WORDS if word in result.stderr]
    assert max(map(len, result.stderr.splitlines())) <= 80


def test_a_secret_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    reasons = {tmp_path / "none": "No such file or directory", binary: "it is not UTF-8 text"}
    for file, reason in reasons.items():
        result = run("connection", "set-api-key", "--file", str(file))
        assert result.exit_code == 2
        assert f"{file} cannot be read: {reason}" in result.stderr


def test_a_shell_completes_verbs() -> None:
    words = {"COMP_WORDS": "leads conn", "COMP_CWORD": "1"}
    assert "connection" in run(_LEADS_COMPLETE="complete_bash", **words).stdout


def test_a_verb_starts_without_the_modules_of_the_others() -> None:
    done = run_python(
        "import sys\n"
        "from ops.cli import VERBS, app\n"
        "app(['token', '--help'], standalone_mode=False)\n"
        "print(*{target.partition(':')[0] for target, *_ in VERBS.values()} & sys.modules.keys())\n"
    )
    assert done.stdout.splitlines()[-1] == "ops.daily.token"


def test_the_environment_is_read_in_one_module() -> None:
    """ops/settings.py changes it for programs. `envvar` is the argument with which typer would read it."""
    reads = re.compile(r"\bos\.(environ|getenv)\b|from os import .*(environ|getenv)|\benvvar\s*=")
    paths = [*(ROOT / "leads").rglob("*.py"), *(ROOT / "ops").rglob("*.py")]
    found = [path for path in paths if reads.search(path.read_text("utf-8"))]
    assert found == [ROOT / "leads/adapters/settings.py", ROOT / "ops/settings.py"]


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_what_is_not_seen_is_escaped_and_markup_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    """In lines, messages, documents, tables and reports."""
    print_line(FOREIGN)
    say(FOREIGN)
    assert capsys.readouterr() == (f"{SHOWN}\n", f"{SHOWN}\n")
    print_json({"name": FOREIGN})
    out = capsys.readouterr().out
    assert "\u202e" not in out
    assert json.loads(out) == {"name": FOREIGN}
    console = ForeignTextConsole()
    console.file, console.width = io.StringIO(), 200
    table = Table("name", title=FOREIGN)
    table.add_row(FOREIGN)
    console.print(table)
    console.print(FOREIGN)
    assert printed(console).count(SHOWN) == 3
    print_reports([{"connection_id": "c", "detail": FOREIGN}], console, dry_run=False)
    assert printed(console).endswith(f"c: {SHOWN}\n")
    plain = Console(file=io.StringIO(), width=200)
    print_indented(FOREIGN, 0, plain)
    print_in_column("at ", FOREIGN, plain)
    assert printed(plain) == f"{SHOWN}\nat {SHOWN}\n"


def block(title: str, *fields: tuple[str, str | None, str], width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    print_changes(title, list(fields), console)
    return printed(console).splitlines()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_change_is_not_wider_than_the_terminal_and_nothing_is_cut(width: int) -> None:
    escaped = "    title  a\\u202eb → a\\u001b[31mb"
    assert block("ticket", ("title", "a\u202eb", "a\x1b[31mb"))[1:] == [escaped]
    before, after = "Nguyễn Thị Trang " * 9, "x" * 150
    fields = (("title", before, after), ("a_very_long_name_of_a_field", "1", "2"))
    lines = block("ticket", *fields, width=width)
    assert max(map(cell_len, lines)) <= width
    assert f"title{before.replace(' ', '')}→{after}" in "".join("".join(lines).split())


def test_lists_have_no_brackets_and_objects_are_compared_key_by_key() -> None:
    before = {"tags": ["a"], "data": {"kept": 1, "name": None}}
    after = {"tags": [], "data": {"kept": 1, "name": "An"}}
    assert changed_fields(before, after) == [("data.name", "none", "An"), ("tags", "a", "none")]
    assert (shown(["a", "b"]), shown([{"a": 1}]), shown(True)) == ("a, b", '[{"a": 1}]', "true")


def option_rows(command: Any, name: str) -> Iterator[str]:
    """Yield a row for each verb: its arguments, and its options without those that all have."""
    if isinstance(command, TyperGroup):
        for each, found in command.commands.items():
            yield from option_rows(found, f"{name} {each}")
        return
    words = [
        each.opts[0] if each.param_type_name == "option" else each.metavar or each.name.upper()
        for each in command.params
        if not {"--json", "--help"} & {*each.opts}
    ]
    shown = " ".join(f"`{word}`" for word in words).replace("|", "\\|")
    yield f"| `{name}` | {shown} |"


def test_the_table_of_options_has_every_verb() -> None:
    begin = "| verb | arguments and options |\n|---|---|\n"
    page = ROOT / "docs" / "cli.md"
    before, _, table = page.read_text("utf-8").partition(begin)
    made = "\n".join(option_rows(typer.main.get_command(app), "leads")) + "\n"
    if os.environ.get("WRITE_DOCS"):
        page.write_text(before + begin + made, "utf-8")
    else:
        assert table == made, "make it with: WRITE_DOCS=1 scripts/test tests/ops/test_command_line.py"


PLACES = {
    "NAME": "x", "ID": "17", "PHONE": "0905111222", "FILE": "x", "URL": "http://host", "BODY": "x",
    "MEAN": "4.5", "N": "15", "DAY": "2026-05-14", "WAVE": "W1", "DIR": "x",
}  # fmt: skip
"""What a reader puts in place of a word in capitals, where no value can be known. A reason is printed."""
COMMANDS: Any = typer.main.get_command(app)
VERBS = "|".join(COMMANDS.commands)
PRINTED = re.compile(
    rf"(?:(?<=[:→] )|(?<=then ))leads ((?:{VERBS})\b[^.;,(){{\n]*)(?=$|[.;,)\n])", re.MULTILINE
)
"""A call of leads that stands alone, at the end of a sentence."""
VALUE, PLACE_OF_VALUE = "VALUE", re.compile(r"\{\w*\}")
VALUES = ("x", "17", "2026-05-14", "failed", "spool", "9a", "poll_records", "header_secret", "W1")
"""What stands in place of a value that only the running program knows: a command takes one of them."""


def printed_commands() -> Iterator[tuple[str, str]]:
    """Yield command and file of what golden outputs show, and of the texts of the programs.

    Outputs of the go-live break a command that is longer than a line; its texts are all here.
    """
    for each in load_criteria():
        text = PLACE_OF_VALUE.sub(VALUE, f"→ {each.remediation}")
        yield from ((found[1], each.id) for found in PRINTED.finditer(text))
    for path in (ROOT / "tests" / "ops" / "golden").glob("*.txt"):
        if not path.name.startswith("golive-"):
            yield from ((found[1], path.name) for found in PRINTED.finditer(path.read_text("utf-8")))
    words = [*(ROOT / "leads").rglob("*.toml"), *(ROOT / "ops").rglob("*.toml")]
    for path in (*words, *(ROOT / "ops" / "setup").glob("*.yaml")):
        text = PLACE_OF_VALUE.sub(VALUE, path.read_text("utf-8").replace('"', "\n"))
        yield from ((found[1], path.name) for found in PRINTED.finditer(text))
    for path in (*(ROOT / "leads").rglob("*.py"), *(ROOT / "ops").rglob("*.py")):
        for text in texts_of(ast.parse(path.read_text("utf-8")), path):
            yield from ((found[1], path.name) for found in PRINTED.finditer(text))


def texts_of(tree: ast.AST, path: Path) -> Iterator[str]:
    """Yield the texts in a module, with its constants in their places, and VALUE for other values.

    A text with values may be a command from its start on.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.JoinedStr):
            yield "→ " + "".join(part_of(each, path) for each in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield PLACE_OF_VALUE.sub(VALUE, node.value)
        else:
            yield from texts_of(node, path)


def part_of(part: ast.expr, path: Path) -> str:
    """Return a part of a text with values."""
    if isinstance(part, ast.Constant):
        return PLACE_OF_VALUE.sub(VALUE, str(part.value))
    value = part.value if isinstance(part, ast.FormattedValue) else None
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    known = getattr(import_module(module), value.id, None) if isinstance(value, ast.Name) else None
    return known if isinstance(known, str) else VALUE


def refusal(command: str) -> str:
    """Return what the command line says of a call, without running it; empty if it takes it."""
    refusals = [refusal_of(command.replace(VALUE, value)) for value in VALUES]
    return "" if "" in refusals else refusals[0]


def refusal_of(command: str) -> str:
    words = [PLACES.get(word, word) for word in split(command)]
    found = COMMANDS
    while isinstance(found, TyperGroup):
        name = words.pop(0) if words else ""
        if name not in found.commands:
            return f"no verb {name}"
        found = found.commands[name]
    try:
        found.make_context(found.name, words)
    except (UsageError, typer.Exit) as error:
        return str(error)
    return ""


def test_a_command_that_is_printed_is_taken_as_it_stands(subtests: pytest.Subtests) -> None:
    """tests/end_to_end/test_operators.py runs those that mend a breakage."""
    commands = dict(printed_commands())
    assert len(commands) > 30
    for command, file in commands.items():
        with subtests.test(command, file=file):
            assert refusal(command) == ""
            assert not {"TEXT", "REASON", "…"} & set(split(command))


def test_the_days_of_a_cure_are_printed_and_a_reason_is_left_to_the_person(subtests: pytest.Subtests) -> None:
    dated = [each for each in load_criteria() if "{" in each.remediation and each.source is not Source.CHECK]
    assert len(dated) > 4
    for criterion in dated:
        with subtests.test(criterion.id):
            cure = criterion.cure(datetime(2026, 5, 14, 20, tzinfo=UTC))
            (command,) = PRINTED.findall(f"→ {cure}")
            assert (refusal(command), "{" in cure) == ("", False)
            if criterion.may_be_waived:
                assert command.endswith(f"waive {criterion.id} --reason 'say why' --until 2026-05-21")
            else:
                assert "--day 2026-05-14" in command, "it is the 15th in Vietnam"
    with pytest.raises(WrongUsage, match="say why stands for a reason"):
        check_reason("say why")


def test_help_and_version_are_found_where_people_look() -> None:
    assert run("-h").output == run("--help").output
    assert run("tail", "-h").output == run("tail", "--help").output
    assert re.fullmatch(r"leads \d+\.\d+\.\d+\n", run("--version").output)


@pytest.mark.parametrize(
    "url",
    ["postgres:geheim@db/diva", "postgresql://o:geheim%zz@db/diva", "postgresql://o:a@geheim@db/diva"],
)
def test_no_session_quotes_a_malformed_url(url: str) -> None:
    with pytest.raises(Misconfigured, match="The database URL is no URL") as caught:
        open_session(url, "setup")
    assert "geheim" not in "".join(format_exception(caught.value))
