"""A pilot as the sources of its gates show it: a seeded database, a Prometheus, and what people attest."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from typer.testing import CliRunner, Result

from leads.cli.__main__ import app
from tests.support.stored_rows import HANH

COMMIT = "0123456789abcdef0123456789abcdef01234567"
DAYS = 7
LEADS = 700
"""Of the pilot: 100 a day, so that a success rate of 99.5 % can be shown."""

EVENTS = """
INSERT INTO pancake_webhook_event (
    connection_id, origin, record_id, modified_on, payload_hash, status, arrived_at, received_at, ingested_at,
    processed_at, created_at, claim_id, source_ids, outcome, ticket_id, evidence
)
SELECT
    c.id, 'webhook', 'pilot-' || s.n, t.at, sha256(('pilot-' || s.n)::bytea), 'processed', t.at, t.at, t.at,
    t.at + interval '1 second', t.at, gen_random_uuid(), ARRAY['-1'], 'ticket_created', k.id,
    jsonb_build_object('assignment', jsonb_build_object('chosen', %(owner)s::text))
FROM pancake_connection AS c
CROSS JOIN generate_series(1, %(leads)s) AS s (n)
CROSS JOIN LATERAL (SELECT %(since)s + s.n * (%(until)s - %(since)s) / (%(leads)s + 1) AS at) AS t
JOIN pilot_ticket AS k ON k.n = s.n
"""
TICKETS = """
WITH made AS (
    INSERT INTO ticket (title, source_id, assignee_id, created_at, first_response_at)
    SELECT 'pilot ' || n, 'ticket_source_pancake', %(owner)s, t.at, t.at + interval '12 minutes'
    FROM generate_series(1, %(leads)s) AS n
    CROSS JOIN LATERAL (SELECT %(since)s + n * (%(until)s - %(since)s) / (%(leads)s + 1) AS at) AS t
    RETURNING id, title
)
SELECT id, substr(title, 7)::integer AS n INTO TEMPORARY pilot_ticket FROM made
"""
RUNS = """
INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report)
VALUES (%(name)s, %(at)s, %(at)s, %(at)s + interval '4 minutes', 'succeeded', %(report)s)
"""


@dataclass
class Pilot:
    """A pilot that began seven days before `now`, all of it healthy; its database is at `url`."""

    url: str
    folder: Path
    prometheus_url: str = ""
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def since(self) -> datetime:
        return (self.now - timedelta(days=DAYS)).replace(second=0, microsecond=0)

    def sql(self, statement: str, **params: Any) -> list[dict[str, Any]]:
        """Run a statement in a session in which rows can be written in their final state."""
        with psycopg.connect(self.url, autocommit=True, row_factory=dict_row) as session:
            cursor = session.execute(statement.encode(), params)
            return cursor.fetchall() if cursor.description else []

    def seed(self, reconciled_days: int = DAYS) -> None:
        """Fill the database with a week of leads and tickets, and the crons of these days."""
        window = {"since": self.since, "until": self.now, "leads": LEADS, "owner": HANH}
        with psycopg.connect(self.url, autocommit=True) as session:
            session.execute("ALTER TABLE pancake_webhook_event DISABLE TRIGGER USER")
            session.execute(
                "INSERT INTO pancake_connection (name, workspace_id, token_sha256, signature_mode,"
                " allowlist_mode, header_secret_encrypted, allowed_ip_ranges)"
                " VALUES ('Diva', 1, sha256('x'), 'enforce', 'enforce', 'sealed', '{10.0.0.0/8}')"
            )
            session.execute(TICKETS.encode(), window)
            session.execute(EVENTS.encode(), window)
        self.seed_contacts()
        self.seed_runs(reconciled_days)
        self.activate_sources(1)

    def seed_contacts(self) -> None:
        """Have a table that is large enough for its reads to be compared."""
        self.sql("INSERT INTO contact_book (name) SELECT 'An' FROM generate_series(0, 10000)")

    def seed_runs(self, days: int = DAYS) -> None:
        """Have the daily crons of so many days succeed, and one lead replayed."""
        for day in range(days):
            at = self.now - timedelta(days=day, hours=18)
            day_report = {"day": f"{at:%Y-%m-%d}", "found_missing": [], "left_missing": []}
            reports = {"reconcile_daily": {"days": [day_report]}, "check_connection": {"connections": []}}
            for name, report in reports.items():
                self.sql(RUNS, name=name, at=at, report=Jsonb(report))
        self.sql(
            "UPDATE pancake_webhook_event SET replayed_at = created_at, replay_count = 1, replayed_by = 'lan'"
            " WHERE id = (SELECT min(id) FROM pancake_webhook_event)"
        )
        self.sql("ANALYZE")

    def enforce(self) -> None:
        """Have every connection enforce its signature and its address ranges."""
        self.sql(
            "UPDATE pancake_connection SET signature_mode = 'enforce', allowlist_mode = 'enforce',"
            " header_secret_encrypted = coalesce(header_secret_encrypted, 'sealed'),"
            " allowed_ip_ranges = '{10.0.0.0/8}'"
        )

    def activate_sources(self, number: int) -> None:
        """Have so many active sources."""
        self.sql(
            "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
            " SELECT c.id, 'source-' || n, 'Nguồn ' || n, true"
            " FROM pancake_connection AS c CROSS JOIN generate_series(1, %(number)s) AS n"
            " ON CONFLICT DO NOTHING",
            number=number,
        )

    def golive(self, *words: str) -> Result:
        """Run a command of `leads golive` with the variables of the pilot."""
        environment = {
            "DATABASE_URL": self.url, "PROMETHEUS_URL": self.prometheus_url, "COMMIT": COMMIT,
            "COLUMNS": "80",
        }  # fmt: skip
        return CliRunner().invoke(app, ["golive", *words, "--records", str(self.folder)], env=environment)

    def begin(self, wave: str, since: datetime) -> Result:
        return self.golive("begin", wave, "--by", "Lan", "--since", f"{since:%Y-%m-%dT%H:%M}")

    def gate(self, wave: str, *words: str) -> dict[str, Any]:
        """Return the evaluation of a gate."""
        result = self.golive("gate", wave, "--json", *words)
        assert result.stdout, result.stderr
        document: dict[str, Any] = json.loads(result.stdout)
        return document

    def outcomes(self, wave: str) -> dict[str, str]:
        """Return the outcome of each criterion of a gate, and why it is inconclusive."""
        return {each["id"]: each["why"] or each["outcome"] for each in self.gate(wave)["criteria"]}


def write_keys(folder: Path) -> tuple[Path, Path]:
    """Write a new private key, for its owner only, and its public key; return their paths."""
    key = Ed25519PrivateKey.generate()
    private, public = folder / "golive.pem", folder / "golive.pub"
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public
