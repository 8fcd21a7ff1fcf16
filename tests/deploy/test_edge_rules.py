"""The alerts of the edge: their metrics exist, their runbook exists, and their rule tests pass."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from sandbox.edge.nginx import EdgeSettings, NginxEdge
from sandbox.edge.packages import missing_packages
from sandbox.processes import Processes
from tests.support.edge.fakes import EDGE_SECRET

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "edge.rules.yml"


def rules() -> list[dict[str, Any]]:
    """Return all alerts of the edge."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.skipif(bool(missing_packages()), reason=f"needs Debian's {', '.join(missing_packages())}")
def test_the_edge_exposes_every_metric_of_the_rules() -> None:
    """An alert with a misspelt metric would never fire."""
    nowhere = "http://127.0.0.1:9"
    with Processes() as processes:
        edge = NginxEdge(processes, EdgeSettings(nowhere, nowhere, "jwt", EDGE_SECRET))
        edge.start()
        edge.wait_ready()
        exposed = set(re.findall(r"^# TYPE (\w+)", httpx.get(f"{edge.ops_url}/metrics").text, re.MULTILINE))
    # One per connection; there is none here.
    exposed |= {"pancake_edge_budget_used", "pancake_edge_unproved_failures"}
    for rule in rules():
        assert set(re.findall(r"pancake_\w+", rule["expr"])) - {"pancake_edge"} <= exposed, rule["alert"]


def test_every_alert_has_a_section_in_the_runbook() -> None:
    for rule in rules():
        path, _, anchor = rule["annotations"]["runbook"].partition("#")
        headings = re.findall(r"^## (\w+)$", (ROOT / path).read_text(), re.MULTILINE)
        assert anchor in [heading.lower() for heading in headings], rule["alert"]
        assert rule["labels"]["team"] == "pancake"


def test_every_alert_has_a_case_where_it_fires_and_one_where_it_does_not() -> None:
    names = {case["name"] for case in yaml.safe_load(RULES.with_name("edge.test.yml").read_text())["tests"]}
    wanted = {f"{rule['alert']} {what}" for rule in rules() for what in ("fires", "is silent")}
    assert names == wanted


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's package promtool is not installed")
def test_the_rule_tests_pass_in_promtool() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", "edge.test.yml"],
        cwd=RULES.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
