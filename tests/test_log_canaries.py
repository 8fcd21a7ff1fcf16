"""The search of all logs for values of customers and secrets: it finds each kind, and fails the run."""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.handover import FOLDER
from sandbox.pancake.leads import Leads
from sandbox.postgres.roles import HANDLERS_LOGIN, LOGINS
from sandbox.stack.keys import Keys
from tests.support.leads import LEAD, PHONE
from tests.support.log_canaries import LogWatch, find_kinds, lines_of_logins
from tests.support.settings import HANDLER_SECRET, WEBHOOK_TOKEN

ROOT = Path(__file__).parents[1]
NAMES_OF_SOURCES = {"Cộng tác viên", "Nguồn ", "Tên cũ"}
PLANTED = """
import subprocess
import sys

from tests.conftest import clean_logs
from sandbox.processes import Processes
from tests.support.settings import WEBHOOK_TOKEN


def test_plants_a_token_in_the_log_of_a_server() -> None:
    with Processes() as processes:
        log = processes.directory("planted-") / "handlers.log"
        with log.open("w") as output:
            processes.start(["echo", WEBHOOK_TOKEN], stdout=output).wait()


def test_plants_a_key_in_the_log_of_a_server_of_a_command() -> None:
    subprocess.run([sys.executable, "child.py"], check=True)
"""
CHILD = """
from sandbox.processes import Processes
from sandbox.stack.keys import Keys

with Processes() as processes, (processes.directory("child-") / "log").open("w") as output:
    processes.start(["echo", Keys.generate().pancake_api_key], stdout=output).wait()
"""


@pytest.mark.parametrize(
    ("line", "kinds"),
    [
        (f'{{"phone": "{PHONE}"}}', ["phone"]),
        ("called 0905111222.", ["phone"]),
        ("84905111222", ["phone"]),
        ("0905 111 222", ["phone"]),
        ("tel 090.511.1222, none", ["phone"]),
        ("(0905-111-222)", ["phone"]),
        ("+84 905 111 222", ["phone"]),
        ("0283 822 9999", ["phone"]),
        ("+842838123456", ["phone"]),
        ("01689001002", ["phone"]),
        ("+49905111222", ["phone"]),
        ("+1 650 253 0000", ["phone"]),
        (f"name={LEAD['name']}", ["name"]),
        (json.dumps(LEAD["name"]), ["name"]),
        ('{"display_name": "Lan"}', ["name"]),
        (f"Bearer {Keys.generate().token('pancake_service')}", ["token"]),
        (f"GET /api/pancake/record/{WEBHOOK_TOKEN}", ["token"]),
        (f"x-handler-secret: {HANDLER_SECRET}", ["secret"]),
        (f"raw: {base64.b64encode(json.dumps(LEAD).encode()).decode()}", ["name", "phone"]),
        ("id 0f0905111222, 0.905111222 s, 1778752800, 00905111222333, 49905111222", []),
        ("2026-05-14 09:12:34.905111 0905 11 12, 2026-05-14-09-12-34-56, +0700, a+12345678901", []),
        ("8f3a0b1c-0905-4111-8222-033345678901, 12:00:05.123456 42, 0.9051112223, 127.0.0.1:8490", []),
        ("An error of Lan's: name=poll_records, Khách hàng", []),
        ('{"event_id": 17, "digest": "0123456789ab", "ms": 12.5}', []),
    ],
)
def test_each_kind_of_value_is_found(line: str, kinds: list[str]) -> None:
    assert find_kinds(line) == kinds


def names_in_use() -> Iterator[str]:
    """The names of customers and staff in samples, seeds and tests; without those of one word."""
    for path in (ROOT / "sandbox" / "payloads").glob("*.json"):
        yield from re.findall(r'"name": "([^"]+)"', path.read_text())
    yield from re.findall(r"0', '(\w+ \w+ \w+)'", (ROOT / "sandbox" / "diva" / "seed.sql").read_text())
    leads = Leads(seed=1)
    yield from (leads.lead()["name"] for _ in range(300))
    for folder in ("tests", "sandbox"):
        for path in (ROOT / folder).rglob("*.py"):
            yield from re.findall(r'\bname"?(?:: |=)f?"(\w+ \w[^"]*)"', path.read_text())
            yield from re.findall(r'\bname"?(?:: |=)f"(\w+ )\{', path.read_text())


def is_vietnamese(name: str) -> bool:
    return not name.isascii() or name.startswith("Nguyen")


def test_the_names_that_are_in_use_are_found() -> None:
    names = {name for name in names_in_use() if " " in name and is_vietnamese(name)} - NAMES_OF_SOURCES
    assert len(names) > 200
    assert {name for name in names if find_kinds(f"{name}1") != ["name"]} == set()


@pytest.mark.parametrize("name", ["handlers.log", "logs/access.json", "log", "server.log"])
def test_a_value_in_a_log_fails_with_the_log_and_the_kind_but_without_the_value(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / name).write_text(f"{HANDLERS_LOGIN} ERROR:  {PHONE}\n")
    watch = LogWatch(tmp_path)
    watch.inspect()
    with pytest.raises(AssertionError, match=f"{name} holds: phone") as raised:
        watch.check()
    assert PHONE not in str(raised.value)


def test_the_secrets_of_each_sandbox_are_searched_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    keys = Keys.generate()
    LogWatch(tmp_path).inspect()
    for secret in (keys.admin_secret, keys.webhook_token, keys.pancake_api_key, keys.jwt_key):
        assert len(find_kinds(f"given {secret}")) == 1


@pytest.mark.parametrize("login", LOGINS, ids=lambda login: login.rpartition("_")[0])
def test_of_postgresql_only_what_handlers_and_operators_did_counts(login: str) -> None:
    text = f"postgres ERROR:  a\n\tb\n{login} ERROR:  c\n\td\npostgres LOG:  e\n"
    assert lines_of_logins(text) == f"{login} ERROR:  c\n\td"


def test_a_run_with_a_value_in_a_servers_log_fails(tmp_path: Path) -> None:
    (tmp_path / "test_planted.py").write_text(PLANTED)
    (tmp_path / "child.py").write_text(CHILD)
    options = ["-q", "-p", "no:cacheprovider", "-n", "2", f"--rootdir={tmp_path}"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, tmp_path], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False, timeout=120,
    )  # fmt: skip
    assert run.returncode == 1, run.stdout
    assert "handlers.log holds: token" in run.stdout
    assert re.search(r"child-\w+/log holds: API key", run.stdout)
    assert WEBHOOK_TOKEN not in run.stdout
