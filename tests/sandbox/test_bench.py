"""Benchmarks run and say what they measured; how fast this machine is, is no test's business."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sandbox.bench.__main__ import app
from sandbox.bench.pgbench import pgbench
from sandbox.edge.packages import missing_packages

needs_nginx = pytest.mark.skipif(
    bool(missing_packages()), reason=f"the real edge needs Debian's {', '.join(missing_packages())}"
)


@needs_nginx
def test_the_whole_way_of_a_lead_is_measured() -> None:
    """Every lead that was posted got its ticket, and none of them at once."""
    printed = CliRunner().invoke(app, ["latency", "--rate", "5", "--seconds", "2", "--json"])
    result = json.loads(printed.stdout)
    assert (printed.exit_code, result["unfinished"], result["non_2xx"]) == (0, [], [])
    assert result["leads"] >= 5
    assert 0 < result["p50_ms"] <= result["p95_ms"] <= result["max_ms"]
    assert result["engine_cpu_ms_per_lead"] > 0


@needs_nginx
def test_the_cost_of_the_edge_is_measured() -> None:
    """The difference that it makes to one client, and its verifications per second."""
    printed = CliRunner().invoke(app, ["edge", "--rounds", "1", "--seconds", "0.5", "--json"])
    result = json.loads(printed.stdout)
    assert (printed.exit_code, result["refused"]) == (0, {})
    assert result["added_p50_ms"] == pytest.approx(
        result["through_p50_ms"] - result["straight_p50_ms"], abs=0.01
    )
    assert result["verify_rps"] > 0


def test_pgbench_gets_the_password_in_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "pgbench"
    program.write_text(
        '#!/bin/sh\necho "$@" >"$0.arguments"\n'
        'echo "$PGUSER $PGPASSWORD $PGDATABASE" >"$0.environment"\necho tps = 1.5\n'
    )
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    rate = pgbench("postgresql://owner:pass-word@127.0.0.1:5/bench", "SELECT 1", clients=1, seconds=1)
    assert rate == 1.5
    assert "pass-word" not in (tmp_path / "pgbench.arguments").read_text()
    assert (tmp_path / "pgbench.environment").read_text() == "owner pass-word bench\n"
