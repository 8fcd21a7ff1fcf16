"""Benchmarks run and say what they measured; how fast this machine is, is no test's business.

So a small run may be above a bar: its exit code has to say so.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from leads.services.cron_runs import CRONS
from leads.services.metrics.figures import FIGURES
from leads.services.metrics.key_figures import KEY_FIGURES
from sandbox.bench import scrape
from sandbox.bench.__main__ import app
from sandbox.bench.bars import print_result
from sandbox.bench.pgbench import pgbench
from sandbox.bench.scale_plans import STATEMENTS
from sandbox.edge.packages import missing_packages

needs_nginx = pytest.mark.skipif(
    bool(missing_packages()), reason=f"the real edge needs Debian's {', '.join(missing_packages())}"
)


def is_above_a_bar(result: dict[str, Any]) -> bool:
    return any(result[name] > bar for name, bar in result["bars"].items())


def test_a_figure_above_its_bar_is_named_and_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    result = {"seconds": 60.1, "rss_mb": 128, "bars": {"seconds": 60, "rss_mb": 128}}
    with pytest.raises(typer.Exit) as ended:
        print_result(result, as_json=True)
    assert ended.value.exit_code == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out) == result
    assert printed.err == "seconds is 60.1, above its bar of 60.\n"


def test_figures_up_to_their_bars_are_printed_alone(capsys: pytest.CaptureFixture[str]) -> None:
    print_result({"seconds": 60, "bars": {"seconds": 60}}, as_json=True)
    assert capsys.readouterr().err == ""


@needs_nginx
def test_the_whole_way_of_a_lead_is_measured() -> None:
    """Every lead that was posted got its ticket, and none of them at once."""
    printed = CliRunner().invoke(app, ["latency", "--rate", "5", "--seconds", "2", "--json"])
    result = json.loads(printed.stdout)
    assert (result["unfinished"], result["non_2xx"], result["dropped"]) == (0, 0, 0)
    assert result["leads"] >= 5
    assert 0 < result["edge_ms"]["p50"] < result["ticket_ms"]["p50"] <= result["ticket_ms"]["max"]
    assert result["round_the_engine"] <= result["leads"]
    assert result["missed"] >= 0
    assert result["engine_cpu_ms_per_lead"] > 0
    assert result["bars"] == {"engine_cpu_ms_per_lead": 4}
    assert printed.exit_code == is_above_a_bar(result)


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


def test_the_longest_call_of_each_cron_is_measured() -> None:
    """Also of those whose work does not fit into one call, with what has to be brought back and emptied."""
    printed = CliRunner().invoke(app, ["crons", "--events", "4000", "--records", "300", "--json"])
    result = json.loads(printed.stdout)
    assert printed.exit_code == is_above_a_bar(result), printed.output
    assert list(result["crons"]) == list(CRONS)
    assert result["longest_call_seconds"] == max(
        each["longest_call_seconds"] for each in result["crons"].values()
    )
    assert all(each["calls"] >= 1 for each in result["crons"].values())


def test_a_look_at_a_system_with_many_events_is_measured() -> None:
    printed = CliRunner().invoke(app, ["status", "--events", "2000", "--looks", "10", "--json"])
    result = json.loads(printed.stdout)
    assert (result["events"], result["looks"]) == (2000, 10)
    assert printed.exit_code == is_above_a_bar(result)
    assert 0 < result["tables_p50_ms"] < result["look_p50_ms"] <= result["look_p95_ms"]
    assert result["look_blocks"] > result["tables_blocks"] > 0
    assert result["command_cpu_ms"] > 0


def test_a_scrape_and_the_statements_of_its_figures_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "PAUSE_SECONDS", 0.05)
    printed = CliRunner().invoke(
        app, ["scrape", "--events", "2000", "--scrapes", "3", "--rounds", "3", "--json"]
    )
    result = json.loads(printed.stdout)
    assert 0 < result["scrape_min_ms"] <= result["scrape_p50_ms"] <= result["scrape_max_ms"]
    figures = [*(figure.query for figure in FIGURES), *(figure.query for figure in KEY_FIGURES)]
    assert set(figures) == set(result["statements"])
    assert result["statements"]["kpi/load_auto_assign of 1d"]["blocks"] > 100, "it reads the tickets"


def test_searches_for_leads_are_measured_and_find_what_they_name() -> None:
    printed = CliRunner().invoke(app, ["trace", "--events", "2000", "--traces", "20", "--json"])
    result = json.loads(printed.stdout)
    assert (result["events"], result["traces"]) == (2000, 20)
    assert printed.exit_code == is_above_a_bar(result)
    assert 0 < result["trace_min_ms"] <= result["trace_p50_ms"] <= result["trace_p95_ms"]
    assert result["connect_p50_ms"] < result["trace_p50_ms"] < result["command_p50_ms"]
    assert result["trace_blocks"] > result["connect_blocks"]


def test_pgbench_gets_the_password_in_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "pgbench"
    program.write_text(
        '#!/bin/sh\necho "$@" >"$0.arguments"\n'
        'echo "$PGUSER $PGPASSWORD $PGDATABASE" >"$0.environment"\n'
        "for second in 1 2; do echo progress: $second.0 s, 5.0 tps, lat 1 ms >&2; done\n"
        "echo number of transactions actually processed: 16\n"
    )
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    url = "postgresql://owner:pass-word@127.0.0.1:5/bench"
    done = pgbench(url, "SELECT 1", clients=1, seconds=3)()
    assert (done.number, done.rate) == (6, 2.0), "those of the warm-up are left out"
    assert "pass-word" not in (tmp_path / "pgbench.arguments").read_text()
    assert (tmp_path / "pgbench.environment").read_text() == "owner pass-word bench\n"


def test_the_costs_of_work_at_two_sizes_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a pause for PostgreSQL's statistics a count of blocks may be of an earlier piece."""
    monkeypatch.setattr("sandbox.bench.costs._wait_for_statistics", lambda seconds: None)
    monkeypatch.setattr("sandbox.bench.scale_work.SCRAPE_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr("sandbox.bench.scale_work.REQUESTS", 5)
    monkeypatch.setattr("sandbox.bench.scale_work.TICKS", 1)
    plans = tmp_path / "plans.json"
    printed = CliRunner().invoke(app, ["scale", "--sizes", "1000,2000", "--plans", str(plans), "--json"])
    result = json.loads(printed.stdout)
    assert {"ingest", "process", "poll", "retry", "scrape"} <= result["costs"].keys()
    assert list(json.loads(plans.read_text())) == STATEMENTS
    assert all(found.keys() == {"1000", "2000"} for found in result["costs"].values())
    assert printed.exit_code == is_above_a_bar(result)


@pytest.mark.parametrize("sizes", ["many", "2000,1000", "1000,1000", "999", "1002", "1000,20000004"])
def test_sizes_that_do_not_rise_are_refused(sizes: str) -> None:
    refused = CliRunner().invoke(app, ["scale", "--sizes", sizes], env={"COLUMNS": "200"})
    assert refused.exit_code == 2
    assert "--sizes" in refused.output
