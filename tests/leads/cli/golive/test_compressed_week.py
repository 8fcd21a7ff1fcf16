"""Leads pass a whole sandbox, their week is compressed, and the gates of the four waves are opened.

Edge, engine, handlers, database and Prometheus run. Made up are: the clock (the leads of a minute are spread
over a week), the answers of the telesales, the runs of the daily crons, and Prometheus' past.
"""

from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from leads.cli.__main__ import app
from tests.support.golive_pilot import Pilot
from tests.support.golive_series import genuine_prometheus
from tests.support.golive_site import GoLiveSite
from tests.support.golive_waves import open_waves
from tests.support.monitoring import needs_monitoring
from tests.support.waiting import eventually

LEADS = 120
SOURCES = {"W1": 0, "W2": 4, "W3": 14, "W4": 40}
"""Besides the one that the deployment switches on."""
SPREAD = """
WITH spread AS (
    SELECT id, ticket_id, processed_at - arrived_at AS took,
        %(since)s + row_number() OVER (ORDER BY id) * (%(until)s - %(since)s) / (count(*) OVER () + 1) AS at
    FROM pancake_webhook_event
), tickets AS (
    UPDATE ticket AS t SET created_at = s.at, first_response_at = s.at + interval '12 minutes'
    FROM spread AS s
    WHERE s.ticket_id = t.id
)
UPDATE pancake_webhook_event AS e
SET created_at = s.at, arrived_at = s.at, received_at = s.at, ingested_at = s.at, processed_at = s.at + s.took
FROM spread AS s
WHERE s.id = e.id
"""


def deploy(*words: str, code: int = 0) -> None:
    run = CliRunner().invoke(app, ["golive", "deploy", "--anytime", *words])
    assert run.exit_code == code, run.output


@needs_monitoring
@pytest.mark.full("leads pass a whole sandbox")
def test_a_compressed_week_of_a_sandbox_opens_the_gates(site: GoLiveSite, tmp_path: Path) -> None:
    deploy("--confirm", "12", code=1)
    assert site.deliver(1) == "skipped_kill_switch"
    deploy()
    for number in range(2, LEADS + 1):
        assert site.deliver(number) == "received"
    count = "SELECT count(*) FROM pancake_webhook_event WHERE outcome = 'ticket_created'"
    eventually(lambda: site.query(count) == [(LEADS,)], seconds=120)

    folder = tmp_path / "prometheus"
    folder.mkdir()
    with genuine_prometheus(folder, timedelta(days=8)) as url:
        pilot = Pilot(site.database_url, tmp_path / "records", url)
        pilot.sql("ALTER TABLE pancake_webhook_event DISABLE TRIGGER USER")
        pilot.sql(SPREAD, since=pilot.since, until=pilot.now)
        pilot.seed_contacts()
        pilot.seed_runs()
        pilot.enforce()
        open_waves(pilot, tmp_path, SOURCES)
