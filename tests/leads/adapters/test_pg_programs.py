"""pg_dump and pg_restore: rows go out and come back, and the password is in no argument."""

from pathlib import Path

import psycopg
import pytest

from leads.adapters.pg_programs import PgProgramFailed, dump_tables, list_dumped_tables, restore_rows
from sandbox.postgres import binaries
from tests.support.postgres import need_pg_dump

FAKE = """#!/bin/sh
for each in "$@"; do echo "$each"; done > {out}
for each in "$@"; do
    case "$each" in
        *passfile=*) cat "$(echo "$each" | sed "s/.*passfile=\\([^ ]*\\).*/\\1/")" >> {out} ;;
    esac
done
echo "error: connection of $0 refused" >&2
exit 1
"""


def test_rows_go_out_and_come_back_into_empty_tables(database: str, tmp_path: Path) -> None:
    need_pg_dump(database)
    programs = binaries.find()
    path = tmp_path / "a.dump"
    dump_tables(database, ("public.staff", "public.pancake_*"), path, programs)
    assert path.stat().st_mode & 0o777 == 0o600
    assert {"public.staff", "public.pancake_webhook_event"} <= list_dumped_tables(path, programs)
    own = tmp_path / "own.dump"
    dump_tables(database, ("public.staff",), own, programs)
    with psycopg.connect(database, autocommit=True) as db:
        before = db.execute("SELECT * FROM staff ORDER BY id").fetchall()
        db.execute("SET session_replication_role = replica")
        db.execute("DELETE FROM staff")
        restore_rows(database, own, programs)
        assert db.execute("SELECT * FROM staff ORDER BY id").fetchall() == before != []
        with pytest.raises(PgProgramFailed, match="pg_restore failed"):
            restore_rows(database, own, programs)
        assert db.execute("SELECT * FROM staff ORDER BY id").fetchall() == before


def test_the_password_is_in_a_file_that_is_gone_afterwards(tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = tmp_path / "pg_dump"
    program.write_text(FAKE.format(out=out))
    program.chmod(0o700)
    with pytest.raises(PgProgramFailed, match=r"pg_dump failed: error: connection of .* refused"):
        dump_tables("postgresql://lan:a%3Ab%5Cc@db/diva", ("public.staff",), tmp_path / "a.dump", tmp_path)
    *arguments, line = out.read_text().splitlines()
    assert line == r"*:*:*:*:a\:b\\c"
    assert not any("a:b" in each for each in arguments)
    (connection,) = [each for each in arguments if "passfile=" in each]
    assert not Path(connection.partition("passfile=")[2].split()[0]).exists()
    assert not (tmp_path / "a.dump").exists()


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PgProgramFailed, match="pg_dump did not run: FileNotFoundError"):
        dump_tables("postgresql://db/diva", ("public.staff",), tmp_path / "a.dump", tmp_path)
