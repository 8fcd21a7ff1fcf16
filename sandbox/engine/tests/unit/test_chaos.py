"""Fault injection: the effect of each fault, and that no event is lost."""

from collections import Counter
from pathlib import Path

import httpx
import psycopg
import pytest

from graphql_engine.chaos import Chaos, Fate
from graphql_engine.errors import QErr
from tests.support.hasura import eventually
from tests.support.process import SECRET, Engines

NUMBER = 2000
TRIGGER = {
    "name": "job_changed",
    "table": {"schema": "public", "name": "job"},
    "insert": {"columns": "*"},
    "retry_conf": {"num_retries": 50, "interval_sec": 0, "timeout_sec": 60},
}
PLAN = {
    "seed": 7,
    "triggers": {"job_changed": {"drop": 0.2, "duplicate": 0.1, "lost_ack": 0.1, "reorder": 1.0}},
}


def test_every_one_of_2000_events_arrives_in_spite_of_faults(engines: Engines, tmp_path: Path) -> None:
    process, url = engines.start()
    with httpx.Client(base_url=url, headers={"x-hasura-admin-secret": SECRET}, timeout=30) as client:

        def call(path: str, kind: str, args: object) -> object:
            answer = client.post(path, json={"type": kind, "args": args})
            assert answer.status_code == 200, answer.text
            return answer.json()

        call("/v2/query", "run_sql", {"sql": "CREATE TABLE job (id int PRIMARY KEY)"})
        call("/v1/metadata", "pg_track_table", {"table": TRIGGER["table"]})
        webhook = {"webhook": engines.receiver.url + "/job"}
        call("/v1/metadata", "pg_create_event_trigger", {**TRIGGER, **webhook})
        assert client.post("/proofs/chaos", json=PLAN).status_code == 200
        call("/v2/query", "run_sql", {"sql": f"INSERT INTO job SELECT generate_series(1, {NUMBER})"})
        args = {"name": "job_changed", "source": "default", "status": "pending", "limit": 1}
        eventually(lambda: call("/v1/metadata", "pg_get_event_logs", args) == [], seconds=90)
        counts = client.get("/proofs/chaos").json()["counts"]
        everything = {**args, "status": "processed", "limit": NUMBER + 1}
        logs = call("/v1/metadata", "pg_get_event_logs", everything)
    assert isinstance(logs, list)
    assert Counter((row["delivered"], row["error"], row["locked"]) for row in logs) == {
        (True, False, None): NUMBER
    }
    arrived = Counter(r.body["event"]["data"]["new"]["id"] for r in engines.receiver.received("/job"))
    assert set(arrived) == set(range(1, NUMBER + 1)), "each at least once"
    attempts = sum(counts.values())
    assert sum(row["tries"] for row in logs) == attempts
    assert sum(arrived.values()) == attempts - counts["drop"] + counts["duplicate"]
    assert counts["drop"] == pytest.approx(0.2 * attempts, rel=0.15)
    engines.stop(process)


def test_a_crash_while_locked_leaves_the_event_to_the_lock_expiry(engines: Engines) -> None:
    process, url = engines.start()
    headers = {"x-hasura-admin-secret": SECRET}
    with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
        client.post("/v2/query", json={"type": "run_sql", "args": {"sql": "CREATE TABLE job (id int)"}})
        client.post("/v1/metadata", json={"type": "pg_track_table", "args": {"table": TRIGGER["table"]}})
        args = {**TRIGGER, "webhook": engines.receiver.url + "/job"}
        client.post("/v1/metadata", json={"type": "pg_create_event_trigger", "args": args})
        client.post("/proofs/chaos", json={"triggers": {"*": {"crash_locked": 1.0}}})
        with psycopg.connect(engines.database_url, autocommit=True) as connection:
            connection.execute("INSERT INTO job VALUES (1)")
            eventually(lambda: client.get("/proofs/chaos").json()["counts"].get("crash_locked") == 1)
            client.post("/proofs/chaos", json={"triggers": {}})
            locked = connection.execute("SELECT locked IS NOT NULL FROM hdb_catalog.event_log").fetchone()
            assert locked == (True,)
            connection.execute("UPDATE hdb_catalog.event_log SET locked = now() - interval '31 minutes'")
            engines.receiver.wait_for("/job", 1)
    engines.stop(process)


def test_the_same_seed_draws_the_same_fates() -> None:
    def drawn() -> list[Fate]:
        chaos = Chaos()
        chaos.load(PLAN)
        return [chaos.fate("job_changed") for _ in range(200)]

    assert drawn() == drawn()
    assert {Fate.DROP, Fate.DUPLICATE, Fate.LOST_ACK, Fate.DELIVER} == set(drawn())


@pytest.mark.parametrize(
    "plan",
    [
        {"speed": 1},
        {"triggers": {"x": {"explode": 0.1}}},
        {"triggers": {"x": {"drop": 2}}},
        {"triggers": {"x": {"drop": True}}},
        {"triggers": {"x": {"drop": 0.6, "timeout": 0.6}}},
    ],
)
def test_a_malformed_plan_is_refused(plan: dict[str, object]) -> None:
    with pytest.raises(QErr, match="chaos"):
        Chaos().load(plan)
