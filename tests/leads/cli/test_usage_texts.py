"""A value that a command line may not have is answered in plain words, within the width of the terminal."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from leads.cli.__main__ import app

LIBRARY_WORDS = ("Value error", "Input should", "%Y", "Errno", "parse")


def run(*words: str) -> Result:
    environment = {"COLUMNS": "80", "DATABASE_URL": "", "ENCRYPTION_KEYS": ""}
    return CliRunner().invoke(app, words, prog_name="leads", env=environment)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("report --week abc", "Invalid value for '--week': 'abc' is not a whole number."),
        ("report --week 99", "Invalid value for '--week': '99' is more than 53."),
        ("tail --last -1", "Invalid value for '--last': '-1' is less than 0."),
        ("alert test --timeout soon", "Invalid value for '--timeout': 'soon' is not a number."),
        (
            "report --from 1.5.2026",
            "Invalid value for '--from': '1.5.2026' is not understood.\n  Write it like 2026-05-14",
        ),
        ("history --since now", "  Write it like 2026-05-14 or 2026-05-14T09:30"),
        (
            "history --of nix",
            "Invalid value for '--of': 'nix' is not one of:\n"
            "  connection, source, roster, setting, event, replay, erasure",
        ),
        ("replay 17 \x1bx", "'\\u001bx' is not a whole number."),
    ],
)
def test_it_says_what_is_wrong_with_the_value(words: str, said: str) -> None:
    result = run(*words.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert not [word for word in LIBRARY_WORDS if word in result.stderr]
    assert max(map(len, result.stderr.splitlines())) <= 80


def test_the_document_says_the_same() -> None:
    result = run("report", "--week", "99", "--json")
    found = json.loads(result.stdout)
    assert found == {"error": "Invalid value for '--week': '99' is more than 53.", "exit_code": 2}


def test_a_secret_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for file, reason in (
        (tmp_path / "none", "No such file or directory"),
        (binary, "it is not text in UTF-8"),
    ):
        result = run("connection", "set-api-key", "--file", str(file))
        assert result.exit_code == 2
        assert f"{file} cannot be read: {reason}" in result.stderr
