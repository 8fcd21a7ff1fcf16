"""The stand-in as a process: start, refusal to start, migrations, restart, clean stop."""

import json
from pathlib import Path

import httpx
import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.database import Server
from tests.support.hasura import eventually
from tests.support.process import SECRET, Engines, check_log
from tests.support.receiver import Answer

DATABASE_URL = {"database_url": {"from_env": "HASURA_GRAPHQL_DATABASE_URL"}}
TRIGGER = {
    "name": "job_changed",
    "definition": {"enable_manual": False, "insert": {"columns": "*"}},
    "retry_conf": {"interval_sec": 1, "num_retries": 0, "timeout_sec": 30},
    "webhook": "{{HANDLERS_URL}}/job",
}
TABLE = {"table": {"name": "job", "schema": "public"}, "event_triggers": [TRIGGER]}
SOURCE = {"name": "default", "kind": "postgres", "configuration": {"connection_info": DATABASE_URL}}
METADATA = json.dumps({"version": 3, "sources": [{**SOURCE, "tables": [TABLE]}]})
UP = "CREATE TABLE job (id int PRIMARY KEY); CREATE INDEX ON job (id);"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one table, one migration and one event trigger."""
    (tmp_path / "metadata.json").write_text(METADATA)
    (tmp_path / "migrations" / "default" / "1700000000000_job").mkdir(parents=True)
    (tmp_path / "migrations" / "default" / "1700000000000_job" / "up.sql").write_text(UP)
    return tmp_path


def options(project: Path) -> list[str]:
    return ["--metadata", str(project / "metadata.json"), "--migrations", str(project / "migrations")]


def post(url: str, path: str, body: object, headers: dict[str, str] | None = None) -> httpx.Response:
    """Ask as admin, or with the given headers."""
    admin = {"x-hasura-admin-secret": SECRET}
    return httpx.post(url + path, json=body, headers=admin if headers is None else headers)


def command(kind: str, **args: object) -> dict[str, object]:
    return {"type": kind, "args": args}


def test_migrations_are_applied_once_and_recorded(engines: Engines, project: Path) -> None:
    for _ in range(2):
        process, _ = engines.start(*options(project))
        assert engines.stop(process) == 0
    with psycopg.connect(engines.database_url) as connection:
        rows = connection.execute("SELECT cli_state FROM hdb_catalog.hdb_version").fetchall()
    state = {"settings": {"migration_mode": "true"}, "isStateCopyCompleted": True}
    assert rows == [(state | {"migrations": {"default": {"1700000000000": False}}},)]


def test_a_failing_migration_is_rolled_back_and_named(engines: Engines, project: Path) -> None:
    broken = project / "migrations" / "default" / "1700000000001_broken"
    broken.mkdir()
    (broken / "up.sql").write_text("CREATE TABLE half (id int); SELECT 1/0;")
    code, words = engines.refusal(*options(project))
    assert code == 1
    assert "1700000000001_broken/up.sql" in words
    assert "division by zero" in words
    with psycopg.connect(engines.database_url) as connection:
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)


def test_inconsistent_metadata_stops_the_start(engines: Engines, project: Path) -> None:
    code, words = engines.refusal("--metadata", str(project / "metadata.json"))
    assert code == 1
    assert "table job" in words
    assert "no such table/view exists" in words


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("HANDLERS_URL", "NOWHERE_URL", "NOWHERE_URL"),
        ("num_retries", "retries", "unknown key 'retries'"),
        ("postgres", "mssql", "kind must be one of"),
        ('"version": 3', '"version": 2', "tables"),
        ("{", "[", "metadata.json"),
    ],
)
def test_metadata_that_cannot_be_used_stop_the_start_with_a_reason(
    engines: Engines, project: Path, old: str, new: str, named: str
) -> None:
    (project / "metadata.json").write_text(METADATA.replace(old, new))
    code, words = engines.refusal(*options(project))
    assert code == 1
    assert named in words


def test_it_listens_on_loopback_only(engines: Engines) -> None:
    code, words = engines.refusal("--host", "0.0.0.0")
    assert code == 2
    assert "loopback" in words


def test_a_jwt_secret_needs_an_admin_secret(engines: Engines) -> None:
    secret = '{"type": "HS256", "key": "0123456789012345678901234567890123"}'
    code, words = engines.refusal(HASURA_GRAPHQL_ADMIN_SECRET="", HASURA_GRAPHQL_JWT_SECRET=secret)
    assert code == 1
    assert "HASURA_GRAPHQL_ADMIN_SECRET" in words


def test_the_event_log_comes_with_the_first_event_trigger_and_goes_with_the_source(
    engines: Engines, project: Path
) -> None:
    def has_log() -> bool:
        with psycopg.connect(engines.database_url) as connection:
            row = connection.execute("SELECT to_regclass('hdb_catalog.event_log') IS NOT NULL").fetchone()
        assert row is not None
        return bool(row[0])

    process, url = engines.start()
    assert not has_log()
    engines.stop(process)
    process, url = engines.start(*options(project))
    assert has_log()
    post(url, "/v1/metadata", command("clear_metadata"))
    assert not has_log()
    assert engines.stop(process) == 0


def test_metadata_with_another_url_move_the_engine_to_that_database(engines: Engines, server: Server) -> None:
    """And back. Metadata that do not fit a database leave the engine where it is."""
    engines.receiver.answers("/job", Answer(200))
    _, url = engines.start()

    def replace(metadata: object) -> int:
        return post(url, "/v1/metadata", command("replace_metadata", metadata=metadata)).status_code

    former = post(url, "/v1/metadata", {"type": "export_metadata", "args": {}}).json()
    with server.database() as other, psycopg.connect(other, autocommit=True) as connection:
        connection.execute(UP.encode())
        source = {**SOURCE, "configuration": {"connection_info": {"database_url": other}}, "tables": [TABLE]}
        assert replace({"version": 3, "sources": [source]}) == 200
        assert replace(json.loads(METADATA)) == 400, "only the other database has the table"
        connection.execute("INSERT INTO job VALUES (1)")
        (received,) = engines.receiver.wait_for("/job", 1)
        assert received.body["event"]["data"]["new"] == {"id": 1}
        elsewhere = {**SOURCE, "name": "second", "tables": []}
        assert replace({"version": 3, "sources": [source, elsewhere]}) == 400, "of two databases"
        asked = post(url, "/v2/query", command("run_sql", sql="SELECT current_database()"))
        assert asked.json()["result"][1] == [connection.info.dbname]
        assert replace(former) == 200
        others = (
            "SELECT FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        eventually(lambda: connection.execute(others).fetchall() == [])
    assert post(url, "/v1/metadata", {"type": "export_metadata", "args": {}}).json() == former
    assert post(url, "/v2/query", command("run_sql", sql="SELECT 1")).status_code == 200


def test_events_in_flight_are_finished_before_the_end(engines: Engines, project: Path) -> None:
    process, _ = engines.start(*options(project))
    engines.receiver.answers("/job", Answer(200, {}, {}, 0.5))
    with psycopg.connect(engines.database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO job VALUES (1)")
        engines.receiver.wait_for("/job", 1)
        assert engines.stop(process) == 0
        row = connection.execute("SELECT delivered, locked, tries FROM hdb_catalog.event_log").fetchone()
    assert row == (True, None, 1)


def test_events_that_outlast_the_shutdown_are_unlocked(engines: Engines, project: Path) -> None:
    process, _ = engines.start(*options(project), HASURA_GRAPHQL_GRACEFUL_SHUTDOWN_TIMEOUT="0")
    engines.receiver.answers("/job", Answer(200, {}, {}, 2.0))
    with psycopg.connect(engines.database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO job VALUES (1)")
        engines.receiver.wait_for("/job", 1)
        assert engines.stop(process) == 0
        row = connection.execute("SELECT delivered, locked, tries FROM hdb_catalog.event_log").fetchone()
    assert row == (False, None, 0)


def test_a_hard_kill_leaves_events_locked_until_the_lock_expires(engines: Engines, project: Path) -> None:
    process, _ = engines.start(*options(project))
    engines.receiver.answers("/job", Answer(200, {}, {}, 2.0), Answer(200))
    with psycopg.connect(engines.database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO job VALUES (1)")
        engines.receiver.wait_for("/job", 1)
        process.kill()
        process.wait()
        engines.start(*options(project))
        connection.execute("INSERT INTO job VALUES (2)")
        received = engines.receiver.wait_for("/job", 2)
        assert received[1].body["event"]["data"]["new"] == {"id": 2}, "the first one is still locked"
        connection.execute(
            "UPDATE hdb_catalog.event_log SET locked = now() - interval '31 minutes' WHERE NOT delivered"
        )
        assert engines.receiver.wait_for("/job", 3)[2].body["event"]["data"]["new"] == {"id": 1}


def test_two_engines_share_the_work(engines: Engines, project: Path) -> None:
    for _ in range(2):
        engines.start(*options(project))
    with psycopg.connect(engines.database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO job SELECT generate_series(1, 300)")

        def done() -> bool:
            row = connection.execute("SELECT count(*) FROM hdb_catalog.event_log WHERE delivered").fetchone()
            return row == (300,)

        eventually(done, seconds=30)
    ids = [received.body["id"] for received in engines.receiver.received("/job")]
    assert len(ids) == len(set(ids)) == 300


def test_a_request_without_credentials_has_the_unauthorized_role(engines: Engines, project: Path) -> None:
    _, url = engines.start(*options(project), HASURA_GRAPHQL_UNAUTHORIZED_ROLE="anonymous")
    permission = {"columns": ["id"], "filter": {}}
    create = command("pg_create_select_permission", table="job", role="anonymous", permission=permission)
    assert post(url, "/v1/metadata", create).status_code == 200
    for headers in ({}, {"x-hasura-role": "admin"}):
        answer = post(url, "/v1/graphql", {"query": "{ job { id } }"}, headers)
        assert answer.json() == {"data": {"job": []}}
    mutation = {"query": "mutation { delete_job(where: {}) { affected_rows } }"}
    assert "errors" in post(url, "/v1/graphql", mutation, {}).json()


def test_without_any_secret_every_request_is_admin(engines: Engines, project: Path) -> None:
    _, url = engines.start(*options(project), HASURA_GRAPHQL_ADMIN_SECRET="")
    assert post(url, "/v1/metadata", command("export_metadata"), {}).status_code == 200


def test_tokens_signed_with_rs256_are_verified_by_the_public_key(engines: Engines) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    _, url = engines.start(HASURA_GRAPHQL_JWT_SECRET=json.dumps({"type": "RS256", "key": public}))
    roles = {"x-hasura-allowed-roles": ["user"], "x-hasura-default-role": "user"}
    claims = {"https://hasura.io/jwt/claims": roles}
    query = {"query": "{ __typename }"}

    def ask(signing_key: rsa.RSAPrivateKey) -> dict[str, object]:
        token = jwt.encode(claims, signing_key, algorithm="RS256")
        return dict(post(url, "/v1/graphql", query, {"authorization": f"Bearer {token}"}).json())

    assert ask(key) == {"data": {"__typename": "query_root"}}
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert "JWSInvalidSignature" in str(ask(other))


def test_apis_that_are_not_enabled_are_not_there(engines: Engines) -> None:
    _, url = engines.start(HASURA_GRAPHQL_ENABLED_APIS="metadata")
    answer = post(url, "/v1/graphql", {"query": "{ __typename }"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def test_a_fetch_interval_of_zero_captures_and_delivers_nothing(engines: Engines, project: Path) -> None:
    process, url = engines.start(*options(project), HASURA_GRAPHQL_EVENTS_FETCH_INTERVAL="0")
    with psycopg.connect(engines.database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO job VALUES (1)")
        assert httpx.get(f"{url}/healthz").text == "OK"
        assert engines.stop(process) == 0
        row = connection.execute("SELECT locked, tries FROM hdb_catalog.event_log").fetchone()
    assert row == (None, 0)
    assert engines.receiver.received("/job") == []


def test_a_value_in_a_log_fails_with_its_kind_and_without_the_value(engines: Engines) -> None:
    check_log("2026-11-26 graphql_engine INFO nothing")
    for text in ("x 0905111222 y", json.dumps({"name": "Nguyễn Văn A"}), f"X-Hasura-Admin-Secret: {SECRET}"):
        with pytest.raises(AssertionError, match=r"log holds (a phone|a name|the admin secret)") as raised:
            check_log(text)
        assert text not in str(raised.value)
    with pytest.raises(AssertionError, match="a phone"):
        engines.refusal("--port", "0905111222 is no port")
    planted = Engines(engines.database_url, engines.receiver)
    planted.log.write(b"0905111222")
    with pytest.raises(AssertionError, match="a phone"):
        planted.close()
