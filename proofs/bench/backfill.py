"""`scripts/bench backfill`: the backfill of phones while another session updates accounts."""

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self

import psycopg
import typer
from rich.console import Console

from proofs.bench.environment import ROOT, describe_machine
from sandbox.postgres.database import install_diva, migrate
from sandbox.postgres.server import Cluster

UPDATE_INTERVAL_SECONDS = 0.003
ACCOUNTS = """
INSERT INTO account (display_name, phone_code, phone_number, phone_enabled)
SELECT
    'Account ' || n,
    '84',
    CASE
        WHEN n %% 20 = 0 THEN '0168' || lpad((n %% 10000000)::text, 7, '0')
        WHEN n %% 20 = 1 THEN (ARRAY[
            '', 'none', '123', '+1 650 253 0000', '028 3812 3456', '84 28 3812 3456',
            '0912345678 / 0987654321', '00000000000', '1900 1234', '0084 912 345 678'
        ])[1 + n / 20 %% 10]
        WHEN n %% 2 = 0 THEN '0' || 900000000 + n %% 90000000
        ELSE (300000000 + 20000000 + n %% 70000000)::text
    END,
    n %% 50 <> 0
FROM generate_series(1, %(accounts)s) AS n
"""
"""One in twenty accounts has an old prefix; one in twenty a foreign, landline, double or unusable number."""


class UpdatingSession:
    """Context manager: a database session that updates accounts one by one and measures each update."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._update_accounts)
        self.longest_ms = 0.0
        self.updates = 0

    def _update_accounts(self) -> None:
        choice = random.Random(5)
        with psycopg.connect(self._url, autocommit=True) as db_connection:
            ids = [row[0] for row in db_connection.execute("SELECT id FROM account TABLESAMPLE SYSTEM (5)")]
            while not self._stop.wait(UPDATE_INTERVAL_SECONDS):
                started = time.perf_counter()
                db_connection.execute(
                    "UPDATE account SET display_name = display_name WHERE id = %s", [choice.choice(ids)]
                )
                self.longest_ms = max(self.longest_ms, (time.perf_counter() - started) * 1000)
                self.updates += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()


def backfill(
    accounts: Annotated[int, typer.Option(help="Number of accounts.", min=1000)] = 1_000_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fill normalized_phone of many accounts: seconds, and the longest wait of a concurrent session."""
    with Cluster(durable=True) as cluster, tempfile.TemporaryDirectory() as folder:
        url = cluster.create_database("backfill")
        install_diva(url)
        migrate(url)
        with psycopg.connect(url, autocommit=True) as db_connection:
            db_connection.execute(ACCOUNTS, {"accounts": accounts})
            db_connection.execute("VACUUM ANALYZE account")
            db_connection.execute("CHECKPOINT")
        with UpdatingSession(url) as session:
            report = _run(url, Path(folder))
    result = {
        "accounts": accounts,
        "seconds": report["seconds"],
        "longest_wait_ms": round(session.longest_ms, 1),
        "updates_beside": session.updates,
        "longest_batch_ms": report["longest_batch_ms"],
        "written": report["written"],
        "unusable": sum(report["unusable"].values()),
        "outcome": report["outcome"],
        "machine": describe_machine(),
    }
    if as_json:
        typer.echo(json.dumps(result))
    else:
        Console().print(result)


def _run(url: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "ops", "backfill-phones", "--anytime", "--json",
         "--unusable", folder / "unusable.csv"],
        env=os.environ | {"DATABASE_URL": url}, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        typer.echo(f"The backfill ended with exit code {done.returncode}: {done.stdout[-2000:]}", err=True)
        raise typer.Exit(1)
    report: dict[str, Any] = json.loads(done.stdout)
    return report
