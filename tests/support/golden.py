"""The environments in which the golden files of `leads` are made: one service is away, the others answer."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from leads.adapters.secrets import KeyRing
from leads.adapters.variables import VARIABLES
from leads.services.sealed_secrets import Use, seal
from sandbox.postgres.roles import operators_url
from sandbox.postgres.server import Cluster
from tests.support.fake_services import fixed_engine, refusing_database, refusing_http
from tests.support.handlers import seed_connection

NOWHERE = "http://127.0.0.1:1"
DATABASE_AWAY = "postgresql://operator@127.0.0.1:1/diva"
KEYS = "k1:" + "A" * 43 + "="
VARYING = {
    r"\d{4}-\d\d-\d\d[ T][\d:.]+[+]00:00": "2026-05-14 02:20:00+00:00",
    r"\d{4}-\d\d-\d\d [\d:]+ UTC": "2026-05-14 02:20:00 UTC",
    r"\b\d+ ms": "1 ms",
    r"PostgreSQL \d[\d.]*[^,\n]*": "PostgreSQL 17",
    r'"seconds": [\d.]+': '"seconds": 0.0',
    r"127\.0\.0\.1:\d{4,5}": "127.0.0.1:5000",
    r"port \d{4,5}": "port 5000",
    r"-\d{4}-\d\d-\d\d\.json": "-2026-05-14.json",
    r"\d\d [A-Z][a-z]{2} \d\d:\d\d": "14 May 02:20",
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}": "a0000000-0000-4000-8000-000000000001",
    r"(pancake_[a-z]+|diva)_[0-9a-f]{8}\w*": r"\1",
}
"""What differs between two runs, as patterns, and what the files have in its place."""


def replaced(text: str) -> str:
    """Return an output without what differs between two runs."""
    for pattern, shown in VARYING.items():
        text = re.sub(pattern, shown, text)
    return text


@contextmanager
def golden_cases(cluster: Cluster, template: str) -> Iterator[dict[str, dict[str, str]]]:
    """The variables of each case, by its name."""
    empty, used = f"{template}_golden", f"{template}_golden_used"
    database = operators_url(cluster.create_database(empty, template))
    owner = cluster.create_database(used, template)
    seed_unreachable_pancake(owner)
    with (
        fixed_engine({"version": 3, "sources": []}) as engine,
        refusing_http() as refusing,
        refusing_database() as refused,
    ):
        all_answer = variables(database, engine, engine)
        with_connection = all_answer | {"DATABASE_URL": operators_url(owner)}
        yield {
            "without an environment": {"EDGE_STATE_DIR": "edge"},  # its default may exist on this machine
            "the database is away": all_answer | {"DATABASE_URL": DATABASE_AWAY},
            "the database refuses the password": all_answer | {"DATABASE_URL": refused},
            "Hasura is away": all_answer | {"HASURA_URL": NOWHERE},
            "Hasura refuses the secret": all_answer | {"HASURA_URL": refusing},
            "the handlers are away": all_answer | {"HANDLERS_URL": NOWHERE},
            "the handlers refuse the secret": all_answer | {"HANDLERS_URL": refusing},
            "the edge's folder is missing": all_answer,
            "Alertmanager is away": all_answer,
            "Prometheus is away": all_answer,
            "Pancake is away": with_connection,
            "there is a connection": with_connection,
        }
    for name in (empty, used):
        cluster.drop_database(name)


def variables(database: str, engine: str, handlers: str) -> dict[str, str]:
    """A complete configuration; the edge's spool is a folder that does not exist."""
    return dict.fromkeys(VARIABLES, "") | {
        "DATABASE_URL": database,
        "METADATA_DATABASE_URL": database,
        "HASURA_URL": engine,
        "HASURA_ADMIN_SECRET": "not-the-secret",
        "HASURA_OTHER_ADMIN_SECRET": "not-the-secret",
        "HANDLERS_URL": handlers,
        "HASURA_SERVICE_TOKEN": "token",
        "HANDLER_SECRET": "h" * 40,
        "EDGE_SECRET": "e" * 40,
        "ENCRYPTION_KEYS": KEYS,
        "EDGE_STATE_KEYS": KEYS,
        "EDGE_STATE_DIR": "edge",
        "EDGE_STATUS_URL": NOWHERE,
        "ALERTMANAGER_URL": NOWHERE,
        "PROMETHEUS_URL": NOWHERE,
        "PUBLIC_URL": "https://127.0.0.1:1",
        "PANCAKE_API_HOSTS": f"crm.pancake.vn,{NOWHERE}",
    }


def seed_unreachable_pancake(owner_url: str) -> None:
    """Create a connection with a key, to a Pancake that does not answer."""
    id_, url = seed_connection(owner_url), f"{NOWHERE}/api"
    key = seal(KeyRing.parse(KEYS), "key-of-pancake", Use("api_key", id_, url))
    with psycopg.connect(owner_url, autocommit=True) as db:
        db.execute("UPDATE pancake_connection SET api_base_url = %s, api_key_encrypted = %s", (url, key))
