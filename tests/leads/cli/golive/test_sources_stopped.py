"""Every criterion that a program decides is inconclusive while its source is stopped."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from leads.cli.golive.criterion import Criterion, Source
from leads.cli.golive.deploy.plan_file import PlanFile
from leads.cli.golive.gates import Inputs, evaluate
from leads.cli.golive.judgement import Judgement, Outcome, Why
from leads.cli.golive.load import load_criteria
from leads.cli.golive.measuring import Places, Sources
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


@pytest.fixture(scope="module")
def judgements(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Judgement]:
    """What is found in a pilot that has begun when no address answers and no file can be read."""
    folder, closed = tmp_path_factory.mktemp("golive"), f"127.0.0.1:{free_port()}"
    now = datetime.now(UTC)
    scans = json.dumps({"at": now.isoformat(), "scans": {}}).encode()
    records = Records(folder)
    for wave in ("W1", "W2", "W3", "W4"):
        records.add(Statement(Kind.BEGIN, wave, "Lan", "lan", now), [(FILE, scans)])
    (folder / "deploy.jsonl").mkdir()
    places = Places(f"postgresql://x@{closed}/x", f"http://{closed}")
    plan = PlanFile(engine_manifest=str(folder / "hasura.yaml"), staging_url=f"http://{closed}")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HASURA_ADMIN_SECRET", "HASURA_OTHER_ADMIN_SECRET"):
            patch.setenv(name, "s" * 32)
        patch.setenv("DATABASE_URL", places.database_url)
        patch.setenv("HASURA_URL", f"http://{closed}")
        patch.setenv("PUBLIC_URL", f"https://{closed}")
        with Sources(places, records) as sources, Link(plan, "default", folder) as link:
            inputs = Inputs(sources, records.read(), "", probes_of(link))
            found = evaluate("test", DECIDED, inputs, datetime.now(UTC), "W4")
    return {each.criterion.id: each for each in found.judgements}


@pytest.mark.parametrize("criterion", DECIDED, ids=lambda each: each.id)
def test_a_stopped_source_is_inconclusive(judgements: Mapping[str, Judgement], criterion: Criterion) -> None:
    found = judgements[criterion.id]
    assert (found.outcome, found.why) == (Outcome.INCONCLUSIVE, Why.SOURCE_DOWN), found.reason
    assert found.reason
