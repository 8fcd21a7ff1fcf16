"""The backfill of account.normalized_phone: its result, limits and index, and what an interruption leaves.

And `leads tickets move`, there and back.
"""

import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from typer.testing import Result

from leads.domain.phone import normalize
from ops.clients.db_session import QUERIES, open_session
from ops.daily.backfill_phones import (
    Account,
    LockWatch,
    Options,
    Stopped,
    Writer,
    check_window,
    read_batches,
    remove_old_file,
    seconds_to_window,
)
from proofs.bench.environment import run_script
from sandbox.postgres.database import operators_url
from sandbox.processes import Processes
from tests.support.operators import leads
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
SEN = "SELECT id::text, phone_code, phone_number FROM account WHERE display_name = 'Lý Thị Sen'"
STATE = "SELECT id, normalized_phone FROM account ORDER BY id"
SLEEPS = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
NOW = datetime(2026, 5, 20, tzinfo=UTC)
PANCAKE, OTHER = "ticket_source_pancake", "ticket_source_8"
QUICK = ("--anytime", "--pause-seconds", "0")
SLOW = ("--anytime", "--rows-per-batch", "100", "--pause-seconds", "0.05")
INDEX = (
    "SELECT pg_get_indexdef(indexrelid) FROM pg_index"
    " WHERE indisvalid AND indexrelid = to_regclass('account_phone_not_normalized_idx')"
)
NO_INDEX = {
    "missing": "DROP INDEX account_phone_not_normalized_idx",
    "invalid": "UPDATE pg_index SET indisvalid = false"
    " WHERE indexrelid = 'account_phone_not_normalized_idx'::regclass",
}


def words(folder: Path, *arguments: str) -> list[str]:
    return ["backfill-phones", "--json", "--unusable", str(folder / "unusable.csv"), *arguments]


def run(database: str, folder: Path, *arguments: str, is_owner: bool = False) -> tuple[int, dict[str, Any]]:
    """Exit code and report of a run in this process."""
    result = leads(*words(folder, *arguments), DATABASE_URL=database if is_owner else operators_url(database))
    return result.exit_code, json.loads(result.stdout)


def start(processes: Processes, database: str, folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    # A shell's background job ignores SIGINT, and so would its children.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "ops"]
    environment = os.environ | {"DATABASE_URL": operators_url(database)}
    return processes.start(
        [*command, *words(folder, *arguments)],
        env=environment, cwd=ROOT, stdout=subprocess.PIPE,
    )  # fmt: skip


def rows(database: str, query: str = STATE) -> list[tuple[Any, ...]]:
    with psycopg.connect(database) as connection:
        return connection.execute(query).fetchall()


def execute(database: str, query: str, *values: object) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(query.encode(), values or None)


@pytest.fixture
def crowded(database: str) -> str:
    run_script(database, "accounts", accounts=3000)
    return database


def expected(database: str) -> list[tuple[Any, ...]]:
    """What every account's normalized_phone must be."""
    stored = rows(database, "SELECT id, phone_code, phone_number FROM account ORDER BY id")
    return [(id_, normalize(number, code)[0] if number is not None else None) for id_, code, number in stored]


def test_every_usable_phone_is_filled_and_the_others_are_listed(
    processes: Processes, crowded: str, tmp_path: Path
) -> None:
    """Values as leads.domain.phone reads them; the CSV names each account that has a phone and no number.

    A spreadsheet runs no phone: it is what a customer typed.
    """
    formula = "=HYPERLINK(1)"
    execute(crowded, "INSERT INTO account (display_name, phone_number) VALUES (%s, %s)", "Lan", formula)
    process = start(processes, crowded, tmp_path, *QUICK, "--rows-per-batch", "500")
    report = json.loads(process.communicate(timeout=120)[0])
    assert (process.returncode, report["outcome"]) == (0, "verified"), report
    assert rows(crowded) == expected(crowded)
    with (tmp_path / "unusable.csv").open() as file:
        read = list(csv.DictReader(file))
    listed = {row["account_id"]: row["reason"] for row in read}
    phones = {row["phone_number"] for row in read}
    assert (f"'{formula}" in phones, formula in phones) == (True, False)
    left = "SELECT id::text FROM account WHERE normalized_phone IS NULL AND phone_number IS NOT NULL"
    assert listed.keys() == {id_ for (id_,) in rows(crowded, left)}
    assert report["unusable"] == {r: list(listed.values()).count(r) for r in set(listed.values())}
    counts = report["counts"]
    assert counts["with_phone"] == counts["normalized"] + len(listed)
    assert counts["active"] >= counts["active_normalized"] > 0
    assert oct((tmp_path / "unusable.csv").stat().st_mode & 0o777) == "0o600"
    assert [path.name for path in tmp_path.iterdir()] == ["unusable.csv"]


def test_a_dry_run_changes_nothing_and_undo_empties_the_column_again(crowded: str, tmp_path: Path) -> None:
    """A dry run writes no row and no file, at any hour. Undo leaves everything else of the accounts."""
    before = rows(crowded, "SELECT account FROM account ORDER BY id")
    physical = "SELECT ctid, xmin FROM account ORDER BY id"
    untouched = rows(crowded, physical)
    code, report = run(crowded, tmp_path, "--dry-run")
    assert (code, report["outcome"], report["written"]) == (0, "not written", 0)
    assert (rows(crowded, physical), list(tmp_path.iterdir())) == (untouched, [])
    assert set(report["unusable"]) >= {"empty", "not_a_number", "too_short"}
    assert run(crowded, tmp_path, *QUICK)[0] == 0
    code, report = run(crowded, tmp_path, "--undo", *QUICK, "--rows-per-batch", "700")
    assert (code, report["outcome"], report["counts"]["normalized"]) == (0, "verified", 0)
    assert rows(crowded, "SELECT account FROM account ORDER BY id") == before


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_at_any_moment_and_resumed_it_ends_the_same(
    processes: Processes, crowded: str, tmp_path: Path, how: int
) -> None:
    """As one uninterrupted run."""
    process = start(processes, crowded, tmp_path, *SLOW)
    target = random.randint(100, 1200)
    eventually(lambda: filled(crowded) >= target)
    process.send_signal(how)
    output, _ = process.communicate(timeout=30)
    partly = filled(crowded)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert json.loads(output)["outcome"] == "interrupted"
    code, report = run(crowded, tmp_path, *QUICK)
    assert (code, report["outcome"]) == (0, "verified")
    assert rows(crowded) == expected(crowded)
    assert report["written"] == filled(crowded) - partly


def test_rows_that_others_hold_are_left_and_taken_in_a_later_pass(crowded: str, tmp_path: Path) -> None:
    others = sum(phone is not None for _, phone in expected(crowded)) - 1

    def let_go() -> None:
        eventually(lambda: filled(crowded) == others)
        holder.rollback()

    with psycopg.connect(crowded) as holder:
        holder.execute("SELECT FROM account WHERE display_name = 'Lý Thị Sen' FOR UPDATE")
        thread = threading.Thread(target=let_go)
        thread.start()
        code, report = run(crowded, tmp_path, *QUICK)
        thread.join()
    assert (code, report["outcome"]) == (0, "verified")
    assert report["passes"] > 2
    assert rows(crowded) == expected(crowded)


def test_a_phone_changed_after_it_was_read_is_never_given_the_old_form(database: str) -> None:
    """The write looks at code and number again."""
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as connection:
        writer = Writer(connection, Options(pause_seconds=0), lambda: None)
        (account,) = rows(database, SEN)
        execute(database, "UPDATE account SET phone_number = '0999888777' WHERE id = %s", account[0])
        assert writer.fill([Account(*account)], ["+84912345678"]) == 0


@pytest.mark.own_database
def test_a_batch_that_takes_too_long_is_undone_and_halved(crowded: str) -> None:
    execute(crowded, slow_trigger("0.002"))
    options = Options(rows_per_batch=1000, max_batch_seconds=0.5, pause_seconds=0)
    with psycopg.connect(crowded, autocommit=True, row_factory=dict_row) as connection:
        writer = Writer(connection, options, lambda: None)
        accounts = next(read_batches(connection, 600))
        phones = [normalize(each.phone_number, each.phone_code)[0] for each in accounts]
        usable = {each: phone for each, phone in zip(accounts, phones, strict=True) if phone}
        assert writer.fill(list(usable), list(usable.values())) == len(usable)
    assert writer._size < len(usable) / 2


@pytest.mark.own_database
def test_it_stops_when_another_session_waits_too_long(crowded: str) -> None:
    """A session waits for a row of the batch beyond the limit: the batch is cancelled, the run ends."""
    execute(crowded, slow_trigger("20"))
    options = Options(max_batch_seconds=60, max_wait_seconds=0.2)
    (account,) = rows(crowded, SEN)

    def wait_for_it() -> None:
        # A probe that locks the row could make the batch skip it.
        eventually(lambda: rows(crowded, SLEEPS))
        execute(crowded, "UPDATE account SET display_name = 'x' WHERE id = %s", account[0])

    with (
        psycopg.connect(crowded, autocommit=True, row_factory=dict_row) as connection,
        LockWatch(crowded, connection, options.max_wait_seconds) as watch,
    ):
        other = threading.Thread(target=wait_for_it)
        other.start()
        with pytest.raises(Stopped, match="Another session waited"):
            Writer(connection, options, watch.check).fill([Account(*account)], ["+84912345678"])
        other.join()
    assert filled(crowded) == 0


def test_the_window_is_two_to_six_in_ict(subtests: pytest.Subtests) -> None:
    for moment in ("19:00:00", "22:59:59"):
        check_window(Options(), datetime.fromisoformat(f"2026-05-20T{moment}+00:00"))
    for moment in ("18:59:59", "23:00:00"):
        with subtests.test(moment=moment):
            now = datetime.fromisoformat(f"2026-05-20T{moment}+00:00")
            check_window(Options(anytime=True), now)
            with pytest.raises(Stopped, match="--anytime"):
                check_window(Options(), now)


def test_at_night_waits_for_the_window_if_an_account_waits(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock stands at 15:00 ICT until the wait; then the window is open."""
    night = [datetime(2026, 5, 20, hour, 30, tzinfo=UTC) for hour in (8, 18, 19, 22, 23)]
    assert [seconds_to_window(now) for now in night] == [37_800, 1_800, 0, 0, 70_200]
    slept: list[float] = []
    is_night = "ops.daily.backfill_phones.seconds_to_window"
    monkeypatch.setattr("ops.daily.backfill_phones.time.sleep", slept.append)
    monkeypatch.setattr(is_night, lambda now: 0.0 if 37_800 in slept else 37_800)
    code, report = run(database, tmp_path, "--at-night")
    assert (code, report["outcome"], 37_800 in slept) == (0, "verified", True)
    execute(database, "DELETE FROM account WHERE normalized_phone IS NULL")
    slept.clear()
    assert run(database, tmp_path, "--at-night")[0] == 0, "no account waits"
    assert 37_800 not in slept
    for wrong in (("--at-night", "--anytime"), ("--dry-run", "--undo")):
        assert leads("backfill-phones", *wrong).exit_code == 2


def test_two_runs_at_once_are_refused(database: str, tmp_path: Path) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext('backfill_normalized_phone'))")
        code, report = run(database, tmp_path, "--anytime")
    assert (code, "Another backfill" in report["reason"]) == (1, True)


def filled(database: str) -> int:
    count: int = rows(database, "SELECT count(normalized_phone) FROM account")[0][0]
    return count


def slow_trigger(seconds: str) -> str:
    return f"""
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$;
        CREATE TRIGGER slow AFTER UPDATE OF normalized_phone ON account
        FOR EACH ROW EXECUTE FUNCTION slow();
    """


@pytest.mark.own_database
@pytest.mark.parametrize("state", NO_INDEX)
def test_its_index_replaces_an_interrupted_build(database: str, tmp_path: Path, state: str) -> None:
    """The migrations leave it out on a large table. Only the owner may build it; a dry run does not."""
    built = rows(database, INDEX)
    assert len(built) == 1
    assert b"INDEX CONCURRENTLY" in QUERIES["backfill_phones/create_index"], "else every writer waits for it"
    execute(database, NO_INDEX[state])
    assert run(database, tmp_path, "--dry-run", is_owner=True)[0] == 0
    assert rows(database, INDEX) == []
    if state == "missing":
        code, report = run(database, tmp_path, *QUICK)
        assert (code, rows(database, INDEX)) == (1, [])
        assert "only the owner of the table account may build it" in report["reason"]
    assert run(database, tmp_path, *QUICK, is_owner=True)[0] == 0
    assert rows(database, INDEX) == built


def test_a_watch_that_cannot_connect_says_why_in_words(database: str) -> None:
    with (
        open_session(database, "test") as session,
        LockWatch("postgresql://operator@127.0.0.1:1/diva", session, 1.0) as watch,
    ):

        def failure() -> str:
            try:
                watch.check()
            except Stopped as stopped:
                return str(stopped)
            return ""

        eventually(failure)
    assert re.fullmatch(r"Lock waits can no longer be watched: [^()]*Connection refused", failure())


def test_an_old_file_of_unusable_phones_is_removed_by_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "unusable.csv"
    path.touch()
    for days, is_left in ((29, True), (31, False)):
        written = (NOW - timedelta(days=days)).timestamp()
        os.utime(path, (written, written))
        assert (remove_old_file(path, NOW), path.exists()) == (not is_left, is_left)
    assert remove_old_file(path, NOW) is False


@pytest.fixture
def with_tickets(database: str) -> str:
    insert = "INSERT INTO ticket (title, source_id) SELECT 'Lead ' || n, %s FROM generate_series(1, %s) AS n"
    for source, number in ((PANCAKE, 25), (OTHER, 3)):
        execute(database, insert, source, number)
    return database


def move(database: str, *arguments: str) -> Result:
    url = operators_url(database)
    return leads("tickets", "move", "--pause-seconds", "0", *arguments, DATABASE_URL=url)


def tickets(database: str, source: str) -> int:
    count: int = rows(database, f"SELECT count(*) FROM ticket WHERE source_id = '{source}'")[0][0]
    return count


def test_there_and_back_leaves_the_tickets_of_others_where_they_were(with_tickets: str) -> None:
    data = f"SELECT DISTINCT data FROM ticket WHERE source_id = '{PANCAKE}'"
    before, of_tickets = tickets(with_tickets, OTHER), rows(with_tickets, data)
    there = move(with_tickets, "--rows-per-batch", "10")
    assert (there.exit_code, tickets(with_tickets, PANCAKE)) == (0, 0)
    assert there.stdout == f"25 tickets to move from {PANCAKE} to {OTHER}.\n0 tickets are left.\n"
    assert tickets(with_tickets, OTHER) == before + 25
    assert move(with_tickets, "--back").exit_code == 0
    assert (tickets(with_tickets, PANCAKE), tickets(with_tickets, OTHER)) == (25, before)
    assert rows(with_tickets, data) == of_tickets, "without our mark"


def test_a_locked_ticket_is_moved_once_it_is_unlocked(with_tickets: str) -> None:
    with psycopg.connect(with_tickets) as other, ThreadPoolExecutor(1) as pool:
        other.execute("SELECT FROM ticket WHERE title = 'Lead 7' FOR UPDATE")
        moving = pool.submit(move, with_tickets)
        eventually(lambda: tickets(with_tickets, PANCAKE) == 1)
        other.rollback()
    assert (moving.result().exit_code, tickets(with_tickets, PANCAKE)) == (0, 0)


def test_a_dry_run_of_a_move_only_counts_and_our_own_source_is_no_target(with_tickets: str) -> None:
    """Exit code 0: tickets that it leaves are no failure. For a program both print one document."""
    for options, left in ((("--dry-run",), 25), ((), 0)):
        result = move(with_tickets, *options, "--json")
        assert (result.exit_code, result.stderr) == (0, "")
        assert json.loads(result.stdout) == {"from": PANCAKE, "to": OTHER, "waiting": 25, "left": left}
        assert tickets(with_tickets, PANCAKE) == left
    result = move(with_tickets, "--to", PANCAKE)
    assert (result.exit_code, f"--to must not be {PANCAKE}" in result.stderr) == (2, True)
