"""A customer of the running system is erased: a dump, all files and all logs are searched."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import sql

from sandbox.edge.nginx import NginxEdge
from sandbox.edge.packages import missing_packages
from sandbox.postgres.roles import HANDLERS_LOGIN, LOGINS
from sandbox.postgres.server import Cluster
from sandbox.stack.services import ROOT
from sandbox.stack.stack import Sandbox
from tests.support.edge.harness import BUDGET_MAX_FAILURES
from tests.support.edge.sender import Sender
from tests.support.erasure import BYSTANDER, PERSON, WRITTEN, found_in, read_files
from tests.support.leads import LATER, body
from tests.support.postgres_programs import need_pg_dump, run_program
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(
    bool(missing_packages()),
    reason=f"the real edge needs Debian's {', '.join(missing_packages())}: apt-get install them to run this",
)
DENIED = "127.0.0.4"
HELD = PERSON | {"id": "held"}
SPOOLED = PERSON | {"id": "spooled", "modified_on": LATER}
WAITING = "SELECT count(*) FROM pancake_webhook_event WHERE status IN ('received', 'processing')"


@dataclass
class System:
    """A sandbox with the real edge; `log_start` is the length of the server's log before it."""

    sandbox: Sandbox
    edge: NginxEdge
    log_start: int = 0

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.sandbox.database_url, autocommit=True) as db:
            cursor = db.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def post(self, content: bytes, address: str = "127.0.0.1") -> str:
        with Sender(self.edge.port, address) as sender:
            return sender.post(self.sandbox.keys.webhook_token, content).status

    def log_statements(self) -> None:
        """From the next sessions on, log every statement; the services get new sessions."""
        database = sql.Identifier(self.sandbox.database)
        with psycopg.connect(self.sandbox.database_url, autocommit=True) as db:
            db.execute(sql.SQL("ALTER DATABASE {} SET log_min_duration_statement = 0").format(database))
            for login in LOGINS:
                for setting in ("log_parameter_max_length = 0", "log_error_verbosity = terse"):
                    of_login = sql.SQL("ALTER ROLE {} IN DATABASE {} SET ").format(
                        sql.Identifier(login), database
                    )
                    db.execute(of_login + sql.SQL(setting))
        self.stop_services()
        self.start_services()

    def stop_services(self) -> None:
        self.sandbox.hasura.stop()
        self.sandbox.handlers.stop()

    def start_services(self) -> None:
        for service in (self.sandbox.hasura, self.sandbox.handlers):
            service.start()
            service.wait_ready()

    def deliver_everywhere(self) -> None:
        """Deliver the customer's leads so that each store of the integration holds one, and a bystander's."""
        for content in (body(BYSTANDER), body(PERSON), "not JSON: Bích Hạnh 0905 111 222".encode()):
            assert self.post(content) in ("received", "dead_letter")
        eventually(lambda: self.sql(WAITING) == [(0,)])
        assert (
            self.post(body(PERSON | {"modified_on": LATER, "phone_number": "+84 905 111 222"})) == "received"
        )
        eventually(lambda: self.sql(WAITING) == [(0,)])
        self.sql("UPDATE view_pancake_setting SET kill_switch = true")
        assert self.post(body(HELD)) == "skipped_kill_switch"
        self.sql("UPDATE view_pancake_setting SET kill_switch = false")
        self._quarantine(body(PERSON | {"id": "quarantined"}))
        self.stop_services()
        assert self.post(body(SPOOLED)) == "spooled"

    def _quarantine(self, content: bytes) -> None:
        """A denied sender is told so until that has spent the budget of failures; then it is quarantined."""
        limits = {"rate": 999, "burst": 999, "deny": [DENIED]}
        self.edge.limits_file.write_text(json.dumps(limits))
        self.edge.limits_file.chmod(0o644)
        eventually(lambda: {self.edge.metric("pancake_edge_rate_limit{}") for _ in range(20)} == {999.0})
        assert {self.post(b"{}", DENIED) for _ in range(BUDGET_MAX_FAILURES)} == {"denied"}
        assert self.post(content, DENIED) == "quarantined"

    def erase(self) -> str:
        """Erase by the phone, as an operator does; return what the command printed."""
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": self.sandbox.database_url,
            "ENCRYPTION_KEYS": self.sandbox.keys.encryption_keys,
            "EDGE_STATE_DIR": str(self.edge.state),
            "EDGE_STATE_KEYS": self.edge.state_keys,
        }
        command = [
            sys.executable,
            "-m",
            "leads.cli",
            "erase",
            "--phone",
            "0905111222",
            "--edge",
            "--yes",
            "--json",
        ]
        done = subprocess.run(
            command,
            cwd=self.sandbox.home,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def dump(self) -> str:
        return run_program(self.sandbox.database_url, "pg_dump")

    def files(self) -> list[str]:
        """The files and logs of all services, with the edge's deliveries opened."""
        folders = (self.sandbox.home, self.edge.directory)
        return [text for folder in folders for text in read_files(folder, self.edge.state_keys)]

    def server_log(self) -> str:
        """What PostgreSQL logged since `log_start`; nothing if the server is not one of this run."""
        cluster = self.sandbox.cluster
        if not cluster.is_embedded:
            return ""
        logged = cluster.log.read_text(errors="replace")[self.log_start :]
        assert f"{HANDLERS_LOGIN} LOG:" in logged
        assert "pancake_erase_events" in logged
        return logged


@pytest.fixture
def system(cluster: Cluster) -> Iterator[System]:
    patient = {"EDGE_PATH_TIMEOUT_MS": "1600", "EDGE_POLICY_SECONDS": "0.2"}
    with Sandbox(cluster, edge_environment=patient) as sandbox:
        assert isinstance(sandbox.edge, NginxEdge)
        yield System(sandbox, sandbox.edge, len(cluster.log.read_text()) if cluster.is_embedded else 0)


def test_nothing_of_the_customer_is_left_in_dump_files_and_logs(system: System) -> None:
    need_pg_dump(system.sandbox.database_url)
    system.log_statements()
    system.deliver_everywhere()
    assert [len(system.edge.held(folder)) for folder in ("spool", "quarantine")] == [1, 1]
    assert found_in([system.dump()]) == set(WRITTEN)
    assert found_in(system.files()) >= {"Bích Hạnh", "090.511.1222", "hanh.tran"}

    printed = system.erase()

    report = json.loads(printed)
    assert (report["counts"]["deliveries"], report["counts"]["events"]) == (2, 4)
    assert report["counts"]["engine_logs"] > 0
    (account,) = report["diva_accounts"]
    # What the command says that Diva has to erase.
    system.sql("UPDATE account SET display_name = NULL, phone_number = NULL WHERE id = %s", account)
    assert found_in([system.dump()]) == set()
    assert found_in([*system.files(), printed]) == set()
    assert found_in([system.server_log()]) == set()
    assert [len(system.edge.held(folder)) for folder in ("spool", "quarantine")] == [0, 0]

    system.start_services()
    # The edge tries a path that failed only now and then, and delivers what it kept meanwhile.
    eventually(lambda: system.post(body(BYSTANDER)) == "duplicate")
    eventually(lambda: not system.edge.held("spool"))
    answers = [system.post(body(lead)) for lead in (PERSON, HELD, SPOOLED)]
    assert answers == ["duplicate", "duplicate", "dead_letter"]
    assert found_in([system.dump(), *system.files(), system.server_log()]) == set()
    bystanders = "SELECT status, payload IS NOT NULL FROM pancake_webhook_event WHERE record_id = 'bystander'"
    assert system.sql(bystanders) == [("processed", True)]
