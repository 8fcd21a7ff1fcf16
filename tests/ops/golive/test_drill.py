"""A drill of tier 3 that is killed, on a real database; edge, engine and handlers are left out.

And the plan of the deployment, which names what its steps do.
"""

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import psycopg
import pytest
from psycopg import errors

from ops.clients.db_session import open_session
from ops.failures import CommandFailed
from ops.golive import drill
from ops.golive.deploy import steps
from ops.golive.deploy.site import Choices, Journal, Pancake, PlanFile, Site
from ops.golive.deploy.step import Action, Found, State, Step
from ops.settings import MIGRATIONS_FOLDER, read_operator_settings
from sandbox.postgres import binaries
from tests.support.databases import owner_session
from tests.support.fakes import Crash
from tests.support.handlers import DatabaseHarness
from tests.support.postgres import need_pg_dump
from tests.support.stored_rows import insert_tickets
from tests.support.waiting import eventually

WEBHOOK = Path("webhook-url.txt")
WITHOUT_ROWS = {"2", "8b", "9a", "9b", "14"}
"""Steps that are left out: those of services, of rights, and the backfill of Diva's accounts."""
TABLES = """
SELECT oid::regclass::text AS name FROM pg_class
WHERE relkind = 'r' AND relname ~ '^(pancake_.*|customer_erasure|integration_change|app_setting)$'
"""


def _find_step(number: str) -> Step:
    if number in WITHOUT_ROWS:
        return Step(number, "", lambda _: Found(State.DONE), has_other_undo=True)
    return steps.find_step(number)


@contextmanager
def _installation(database: str, folder: Path) -> Iterator[Site]:
    settings = read_operator_settings("DATABASE_URL", environment={"DATABASE_URL": database})
    choices = Choices(folder, PlanFile(), "Lan", folder, "default", MIGRATIONS_FOLDER, binaries.find())
    journal, deployment = Journal(folder, "Lan", "0123abc"), mock.Mock(engine=None, own={})
    with open_session(database, "golive drill") as db, pytest.MonkeyPatch.context() as patch:
        patch.setattr(drill, "find_step", _find_step)
        patch.setattr(drill, "verb", lambda *words: Action(words, lambda: (0, "")))
        patch.setattr(drill, "read_webhook", mock.Mock())
        patch.setattr(drill, "Sender", mock.MagicMock())
        patch.setattr(drill.Drill, "wait", lambda *_: None)
        yield Site(settings, db, deployment, journal, choices)


def _fill(db: DatabaseHarness) -> None:
    """Have a setting, and rows with values in the columns that a later migration adds."""
    db.change_settings(sla_minutes=45)
    db.sql("SET session_replication_role = replica")
    insert_tickets(db.session, "lead", 2)
    db.fill_roster(share_until="infinity")
    db.sql("UPDATE pancake_connection SET record_link = 'https://crm.example/{record_id}'")
    db.sql("UPDATE pancake_webhook_event SET first_processed_at = now(), ticket_watched_at = now()")
    db.sql("RESET session_replication_role")


def _rows(db: DatabaseHarness) -> dict[str, list[Any]]:
    names = [table["name"] for table in db.sql(TABLES)]
    return {name: db.sql(f"SELECT to_jsonb(t) FROM {name} AS t ORDER BY t::text") for name in names}


@pytest.mark.slow("it applies the migrations some twenty times")
@pytest.mark.own_database
def test_a_drill_of_tier_3_that_is_killed_after_any_action_loses_no_row(
    database: str, connection_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    subtests: pytest.Subtests,
) -> None:  # fmt: skip
    need_pg_dump(database)
    write, places = Journal.write, [""]

    def killed_once(journal: Journal, event: str, step: str, **details: Any) -> None:
        """At the end of an action its work is done, and not noted; the snapshot is written."""
        place = " ".join([event, step, *details.get("argv", [])[:2]])
        if event in ("end", "snapshot") and place not in places:
            places.append(place)
            raise Crash
        write(journal, event, step, **details)

    monkeypatch.setattr(Journal, "write", killed_once)
    with owner_session(database) as session, _installation(database, tmp_path) as site:
        db = DatabaseHarness(session)
        _fill(db)
        rows = _rows(db)
        is_killed = True
        while is_killed:
            is_killed = False
            try:
                drill._finish_stopped(site, WEBHOOK, rate=1)
                before, rows = rows, _rows(db)
                with subtests.test(places[-1]):
                    assert rows == before
                site.journal.write(drill.BEGUN, "tier3", prefix="drill-", workspace=1, source="-1")
                of_site = drill.Drill(site, mock.MagicMock(prefix="drill-"), WEBHOOK)
                drill.tier3(of_site)
                drill.after_tier3(of_site)
            except Crash:
                is_killed = True
        assert _rows(db) == rows
        (tmp_path / "20261130T090000Z-rows-of-drill.dump.7.partial").touch()
        assert any(".partial: it holds" in line for line in drill._remaining(site))
    assert len(places) > 2 * len(steps.migration_ids())


def test_a_file_of_sql_is_executed_again_after_a_deadlock(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Handlers lock tables in another order; PostgreSQL ends the session that has waited for its timeout."""
    file = tmp_path / "down.sql"
    file.write_text("LOCK TABLE pancake_source; LOCK TABLE pancake_connection")
    waiting = "SELECT FROM pg_locks WHERE NOT granted AND pid = %s"
    with (
        ThreadPoolExecutor() as deployment,
        _installation(database, tmp_path) as site,
        owner_session(database) as watcher,
        psycopg.connect(database) as handlers,
    ):
        site.db.execute("SET deadlock_timeout = '3s'")
        handlers.execute("SET deadlock_timeout = '1min'")
        handlers.execute("LOCK TABLE pancake_connection IN ACCESS SHARE MODE")
        done = deployment.submit(steps.execute(site, file).run)
        eventually(lambda: watcher.execute(waiting, [site.db.info.backend_pid]).rowcount == 1)
        handlers.execute("LOCK TABLE pancake_source IN ACCESS SHARE MODE")
        handlers.rollback()
        assert done.result(timeout=60)[0] == 0
    assert "executed 2 times because of deadlocks" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "tries"), [(errors.DeadlockDetected, steps.MAX_TRIES), (errors.LockNotAvailable, 1)]
)
def test_a_file_of_sql_fails_in_the_end(error: type[Exception], tries: int, tmp_path: Path) -> None:
    (tmp_path / "down.sql").touch()
    site: Any = mock.MagicMock()
    site.db.execute.side_effect = error("no lock")
    with pytest.raises(CommandFailed, match="no lock"):
        steps.execute(site, tmp_path / "down.sql").run()
    assert site.db.execute.call_count == tries


def test_a_dump_is_restored_until_its_rows_are_back_or_a_person_deployed(tmp_path: Path) -> None:
    """Tables into which new leads may have come are not emptied for those of an old dump."""
    journal = Journal(tmp_path, "Lan", "0123abc")
    site: Any = SimpleNamespace(journal=journal, folder=tmp_path)

    def restored_after(event: str, step: str, **details: Any) -> bool:
        journal.write(event, step, **details)
        return drill._dump_to_restore(site) is not None

    dump = partial(restored_after, "snapshot", "snapshot", when=drill.ROWS_FILE, file="rows.dump")
    restore = partial(restored_after, "end", "4", argv=drill.RESTORE)
    assert not restored_after("end", steps.ROLES, argv=["execute"], exit=0)
    assert [dump(), restore(exit=1), restore(exit=0)] == [True, True, False]
    assert [dump(), restored_after(drill.BEGUN, "tier3")] == [True, False]
    assert [dump(), restored_after("begin", steps.ROLES, argv=["execute"])] == [True, False]


def _commands(texts: Iterable[str]) -> list[str]:
    return [text for text in texts if text.startswith(("leads ", "execute "))]


@pytest.mark.parametrize(
    ("word", "texts", "active", "connections"),
    [("do", "does", [], []), ("undo", "undoes", ["Facebook"], [{"name": "Diva"}])],
)
def test_the_plan_names_the_verbs_and_files_of_each_step(
    word: str, texts: str, active: list[str], connections: list[object], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    row = {"tickets": 0, "members": 1, "is_held": True, "is_waiting": True, "active": active}
    monkeypatch.setattr(Site, "row", lambda *_: row)
    monkeypatch.setattr(steps, "_is_listed", lambda _: True)
    plan = PlanFile(source="-1", pancake=Pancake("Diva", 607, "key.txt", f"{tmp_path}/url.txt"))
    choices = Choices(tmp_path, plan, "Lan", tmp_path, "default", MIGRATIONS_FOLDER)
    db = mock.Mock(**{"execute.return_value.fetchall.return_value": connections})
    journal = Journal(tmp_path, "Lan", "")
    journal.write("confirmed", "14")
    site = Site(read_operator_settings(), db, mock.Mock(engine=None, own={}), journal, choices)
    for step in steps.all_steps():
        made = _commands(" ".join(action.argv) for action in getattr(step, word)(site))
        named = [re.split(" (?=[A-Z-])|,", text)[0] for text in _commands(getattr(step, texts))]
        assert len(made) == len(named), step.id
        assert [text for text, shown in zip(made, named, strict=True) if not fnmatch(
            text, shown.replace("…", "*") + "*"
        )] == [], step.id  # fmt: skip
    assert steps.find_step("snapshot").does[0].endswith(" ".join(steps.OF_DIVA))
