"""What every run of tests relies on: the search of all logs, emptied databases, and tests that run alone."""

import base64
import json
import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from _pytest.subtests import SubtestContext, SubtestReport

from leads.adapters.secrets import KeyRing
from sandbox.pancake.leads import Leads
from sandbox.postgres.database import HANDLERS_LOGIN, LOGINS
from sandbox.postgres.server import Cluster
from sandbox.processes import FOLDER, Processes
from sandbox.stack.keys import Keys
from tests.support.attacks import count_tries, counted
from tests.support.databases import Databases, SchemaChanged
from tests.support.fakes import FakeHasura
from tests.support.handlers import running_handlers, seed_connection
from tests.support.leads import LEAD, PHONE, numbered_lead
from tests.support.logs import LogWatch, find_kinds, lines_of_logins, watching_logs
from tests.support.programs import run
from tests.support.settings import HANDLER_SECRET, WEBHOOK_TOKEN, handler_settings
from tests.support.suites import SERIAL, Turn, unit_of

ROOT = Path(__file__).parents[1]
NAMES_OF_SOURCES = {"Cộng tác viên", "Nguồn ", "Tên cũ"}
CHILD = """
from sandbox.processes import Processes
from sandbox.stack.keys import Keys

with Processes() as processes, (processes.directory("child-") / "log").open("w") as output:
    processes.start(["echo", Keys.generate().pancake_api_key], stdout=output).wait()
"""


PHONES = (
    f'{{"phone": "{PHONE}"}}', "called 0905111222.", "84905111222", "0905 111 222", "tel 090.511.1222, none",
    "(0905-111-222)", "+84 905 111 222", "0283 822 9999", "+842838123456", "01689001002", "+49905111222",
    "+1 650 253 0000",
)  # fmt: skip
HARMLESS = (
    "id 0f0905111222, 0.905111222 s, 1778752800, 00905111222333, 49905111222",
    "2026-05-14 09:12:34.905111 0905 11 12, 2026-05-14-09-12-34-56, +0700, a+12345678901",
    "8f3a0b1c-0905-4111-8222-033345678901, 12:00:05.123456 42, 0.9051112223, 127.0.0.1:8490",
    "An error of Lan's: name=poll_records, Khách hàng",
    '{"event_id": 17, "digest": "0123456789ab", "ms": 12.5}',
)
KINDS: dict[str, list[str]] = {
    **{phone: ["phone"] for phone in PHONES},
    f"name={LEAD['name']}": ["name"],
    json.dumps(LEAD["name"]): ["name"],
    '{"display_name": "Lan"}': ["name"],
    f"Bearer {Keys.generate().token('pancake_service')}": ["token"],
    f"GET /api/pancake/record/{WEBHOOK_TOKEN}": ["token"],
    f"x-handler-secret: {HANDLER_SECRET}": ["secret"],
    f"raw: {base64.b64encode(json.dumps(LEAD).encode()).decode()}": ["name", "phone"],
    **{line: [] for line in HARMLESS},
}


def test_each_kind_of_value_is_found(subtests: pytest.Subtests) -> None:
    for line, kinds in KINDS.items():
        with subtests.test(kinds=kinds):
            assert find_kinds(line) == kinds, line


def names_in_use() -> Iterator[str]:
    """The names of customers and staff in samples, seeds and tests; without those of one word."""
    for path in (ROOT / "sandbox" / "payloads").glob("*.json"):
        yield from re.findall(r'"name": "([^"]+)"', path.read_text())
    yield from re.findall(r"0', '(\w+ \w+ \w+)'", (ROOT / "sandbox" / "diva" / "seed.sql").read_text())
    leads = Leads(seed=1)
    yield from (leads.lead()["name"] for _ in range(300))
    for folder in ("tests", "proofs", "sandbox"):
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
def test_a_finding_names_the_log_and_the_kind_but_no_value(tmp_path: Path, name: str) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / name).write_text(f"{HANDLERS_LOGIN} ERROR:  {PHONE}\n")
    watch = LogWatch(tmp_path)
    watch.inspect()
    with pytest.raises(AssertionError, match=f"{name} holds: phone") as raised:
        watch.check()
    assert PHONE not in str(raised.value)


def test_secrets_of_a_sandbox_are_searched_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    keys = Keys.generate()
    LogWatch(tmp_path).inspect()
    for secret in (keys.admin_secret, keys.webhook_token, keys.pancake_api_key, keys.jwt_key):
        assert len(find_kinds(f"given {secret}")) == 1


def test_of_postgresql_only_what_handlers_and_operators_did_counts(subtests: pytest.Subtests) -> None:
    for login in LOGINS:
        with subtests.test(login=login):
            text = f"postgres ERROR:  a\n\tb\n{login} ERROR:  c\n\td\npostgres LOG:  e\n"
            assert lines_of_logins(text) == f"{login} ERROR:  c\n\td"


def run_servers(folder: Path) -> None:
    """Run a server that logs a token, and a command whose server logs a key, as tests do."""
    with watching_logs():
        with Processes() as processes, (processes.directory("planted-") / "handlers.log").open("w") as output:
            processes.start(["echo", WEBHOOK_TOKEN], stdout=output).wait()
        run(sys.executable, "child.py", cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_a_value_in_the_log_of_a_server_or_of_a_commands_server_fails_the_run(tmp_path: Path) -> None:
    """conftest.py watches the session of each worker in this way."""
    (tmp_path / "child.py").write_text(CHILD)
    with pytest.raises(AssertionError) as raised:
        run_servers(tmp_path)
    said = str(raised.value)
    assert "handlers.log holds: token" in said
    assert re.search(r"child-\w+/log holds: API key", said)
    assert WEBHOOK_TOKEN not in said


# A database is as its template after each test that used it, or the test fails

DUMP = """
SELECT table_name, query_to_xml(format('SELECT * FROM %I ORDER BY 1', table_name), true, false, '')::text
FROM information_schema.tables
WHERE table_schema = 'public' AND table_type = 'BASE TABLE'
UNION ALL
SELECT sequencename, coalesce(last_value, 0)::text FROM pg_sequences
"""


@pytest.fixture
def lent(cluster: Cluster, template: str) -> Iterator[Databases]:
    if not cluster.is_embedded:
        pytest.skip("only the embedded server's databases are emptied")
    with closing(Databases(cluster, {"any": template})) as databases:
        yield databases


def dump(url: str) -> set[tuple[str, str]]:
    with psycopg.connect(url) as session:
        return set(session.execute(DUMP).fetchall())


def test_rows_and_sequences_are_those_of_the_template_again(lent: Databases) -> None:
    with lent.lend("any", is_own=False) as first:
        before = dump(first)
        seed_connection(first)
        with psycopg.connect(first) as session:
            session.execute(
                "INSERT INTO account (display_name, phone_code, phone_number)"
                " SELECT 'x', '84', n::text FROM generate_series(1, 20000) AS n"
            )
            session.execute("UPDATE staff SET on_duty = NOT on_duty; DELETE FROM notification_template")
            session.execute("INSERT INTO ticket (title, source_id) VALUES ('x', 'ticket_source_8')")
        assert len(dump(first) ^ before) > 8
    with lent.lend("any", is_own=False) as second:
        assert (second, dump(second)) == (first, before)


def test_a_session_that_a_test_left_is_ended(lent: Databases) -> None:
    with lent.lend("any", is_own=False) as url:
        left = psycopg.connect(url)
        left.execute("LOCK TABLE account")
    with pytest.raises(psycopg.OperationalError):
        left.execute("SELECT 1")
    left.close()


async def test_pools_whose_sessions_ended_in_another_test_are_not_lent(
    kept_pools: None, database: str, connection_id: str, key_ring: KeyRing
) -> None:
    for number in range(2):
        with psycopg.connect(database, autocommit=True) as session:
            session.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'pancake handlers'"
            )
        settings = handler_settings(database, key_ring)
        async with running_handlers(settings, connection_id, FakeHasura()) as handlers:
            assert (await handlers.deliver(numbered_lead(number)))["status"] == "received"


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE staff ADD COLUMN more text; CREATE INDEX more ON staff (more)",
        "CREATE FUNCTION more() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "ALTER TABLE pancake_webhook_event DISABLE TRIGGER USER",
        "REVOKE SELECT ON staff FROM pancake_handlers",
        "ALTER TABLE staff DROP CONSTRAINT staff_role_check",
    ],
)
def test_a_changed_schema_fails_the_test_and_the_next_gets_another(lent: Databases, change: str) -> None:
    with lent.lend("any", is_own=False) as first, psycopg.connect(first) as session:
        session.execute(
            "CREATE TABLE more (id integer); DROP TABLE more; CREATE TEMP TABLE more (id integer)"
        )
        session.execute("ALTER TABLE staff RENAME full_name TO more")
        session.execute("ALTER TABLE staff RENAME more TO full_name")
    refused = pytest.raises(SchemaChanged, match="own_database")
    with refused, lent.lend("any", is_own=False) as changed, psycopg.connect(changed) as session:
        session.execute(change.encode())
    assert changed == first
    with lent.lend("any", is_own=False) as next_one:
        assert next_one != first


PAGE = """Counted {}.
| someone; another | raw | `tests/test_a.py::test_a` `::test_b` | {} | {} | {} |
| someone | other | `tests/test_a.py::test_c` | {} | {} | nothing |
"""


def report(test: str, subtest: str = "", tries: int = 0, has_failed: bool = False) -> pytest.TestReport:
    of_test = pytest.TestReport(
        f"tests/test_a.py::{test}", ("", 0, ""), {}, "failed" if has_failed else "passed", None, "call",
        user_properties=[("tries", tries)] if tries else [],
    )  # fmt: skip
    context = SubtestContext(msg=subtest, kwargs={})
    return SubtestReport._new(of_test, context, None, None) if subtest else of_test


def test_tries_of_attacks_are_counted_by_the_tests_themselves() -> None:
    reports = [
        *(report("test_a", f"number {number}", has_failed=number == 3) for number in (1, 2, 3)),
        report("test_a"), report("test_b[1]", tries=20), report("test_b[2]", tries=20), report("test_c"),
        report("test_of_no_attack", has_failed=True),
    ]  # fmt: skip
    before = PAGE.format("on no day", 0, 0, "nothing", 0, 0)
    after = PAGE.format("now: 44 tries, 43 refused", 43, 42, "number 3", 1, 1)
    assert counted(before, count_tries(reports), "now") == after


def test_a_test_that_is_alone_waits_for_the_others_and_they_for_it() -> None:
    locks = [os.memfd_create(name) for name in ("gate", "running")]
    one, other = (Turn([f"/proc/{os.getpid()}/fd/{lock}" for lock in locks]) for _ in range(2))
    one.begin(alone=False)
    other.begin(alone=False)
    other.end()
    with ThreadPoolExecutor(1) as thread:
        for first, second, alone in ((one, other, True), (other, one, False)):
            begun = thread.submit(second.begin, alone=alone)
            with pytest.raises(TimeoutError):
                begun.result(0.05)
            first.end()
            begun.result(10)
    one.end()


def test_each_mark_serial_is_found_in_the_text_of_its_file() -> None:
    """By the process that distributes the tests: it imports none."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text()
        assert len(SERIAL.findall(text)) == len(re.findall(r"mark\.serial", text)), path
    timed = "tests/edge/test_limits.py::test_the_rate_is_that_of_the_file_after_a_burst"
    assert (unit_of(timed), unit_of("tests/test_tree.py::test_x[1]")) == ("serial", "tests/test_tree.py")
