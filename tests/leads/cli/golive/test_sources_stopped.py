"""Every criterion that a program decides is inconclusive while its source is stopped, or never answers."""

import json
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from leads.adapters import prometheus_api
from leads.cli.golive.criterion import Criterion, Source
from leads.cli.golive.deploy.plan_file import PlanFile
from leads.cli.golive.gates import Inputs, evaluate
from leads.cli.golive.judgement import Judgement, Outcome, Why
from leads.cli.golive.load import load_criteria
from leads.cli.golive.measuring import Places, Sources
from leads.cli.golive.precheck import link, other_probes
from leads.cli.golive.precheck.link import Link
from leads.cli.golive.probes import probes_of
from leads.cli.golive.records import Kind, Records, Statement
from leads.cli.golive.scans import FILE
from sandbox.postgres.server import free_port

OF_THIS_PROGRAM = {"has_phonenumbers", "has_circuitbreaker"}
"""They ask which packages are installed beside this program: that source does not stop alone."""
DECIDED = [
    each for each in load_criteria()
    if each.source not in (Source.PERSON, Source.FILE) and each.query not in OF_THIS_PROGRAM
]  # fmt: skip
ASKED_BY_HTTP = [each for each in DECIDED if each.source is not Source.SQL]

SILENT_SECONDS = 0.1
TIMEOUTS = ((link, "REQUEST_SECONDS"), (other_probes, "CONNECT_SECONDS"), (prometheus_api, "TIMEOUT_SECONDS"))
"""By module: how long an answer may take. Here shorter, so that the test does not wait for them."""


def judgements_of(
    criteria: list[Criterion], folder: Path, web: str, database: str
) -> Mapping[str, Judgement]:
    """Judge in a pilot that has begun, whose sources are at these addresses; no file can be read."""
    now = datetime.now(UTC)
    scans = json.dumps({"at": now.isoformat(), "scans": {}}).encode()
    records = Records(folder)
    for wave in ("W1", "W2", "W3", "W4"):
        records.add(Statement(Kind.BEGIN, wave, "Lan", "lan", now), [(FILE, scans)])
    (folder / "deploy.jsonl").mkdir()
    places = Places(f"postgresql://x@{database}/x", f"http://{web}")
    plan = PlanFile(engine_manifest=str(folder / "hasura.yaml"), staging_url=f"http://{web}")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HASURA_ADMIN_SECRET", "HASURA_OTHER_ADMIN_SECRET"):
            patch.setenv(name, "s" * 32)
        patch.setenv("DATABASE_URL", places.database_url)
        patch.setenv("HASURA_URL", f"http://{web}")
        patch.setenv("PUBLIC_URL", f"https://{web}")
        with Sources(places, records) as sources, Link(plan, "default", folder) as opened:
            inputs = Inputs(sources, records.read(), "", probes_of(opened))
            found = evaluate("test", criteria, inputs, datetime.now(UTC), "W4")
    return {each.criterion.id: each for each in found.judgements}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Judgement]:
    """What is found when no address answers."""
    closed = f"127.0.0.1:{free_port()}"
    return judgements_of(DECIDED, tmp_path_factory.mktemp("stopped"), closed, closed)


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Judgement]:
    """What is found when engine, edge and Prometheus take a connection and never answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server, pytest.MonkeyPatch.context() as patch:
        for module, name in TIMEOUTS:
            patch.setattr(module, name, SILENT_SECONDS)
        web = f"127.0.0.1:{server.getsockname()[1]}"
        folder = tmp_path_factory.mktemp("silent")
        return judgements_of(ASKED_BY_HTTP, folder, web, f"127.0.0.1:{free_port()}")


@pytest.mark.parametrize("criterion", DECIDED, ids=lambda each: each.id)
def test_a_stopped_source_is_inconclusive(stopped: Mapping[str, Judgement], criterion: Criterion) -> None:
    found = stopped[criterion.id]
    assert (found.outcome, found.why) == (Outcome.INCONCLUSIVE, Why.SOURCE_DOWN), found.reason
    assert found.reason


@pytest.mark.parametrize("criterion", ASKED_BY_HTTP, ids=lambda each: each.id)
def test_a_source_that_never_answers_is_inconclusive(
    silent: Mapping[str, Judgement], criterion: Criterion
) -> None:
    found = silent[criterion.id]
    assert (found.outcome, found.why) == (Outcome.INCONCLUSIVE, Why.SOURCE_DOWN), found.reason
    assert found.reason


def test_a_time_out_is_what_a_silent_source_is_told_by(silent: Mapping[str, Judgement]) -> None:
    sources = {
        Source.ENGINE: "engine-version",
        Source.COMMAND: "E2-OPS-alerts",
        Source.PROMQL: "E2-OPS-scrape",
    }
    for name in sources.values():
        assert "time" in silent[name].reason, silent[name].reason
