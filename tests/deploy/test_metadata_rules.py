"""The alerts of the metadata: their checks exist, their runbook exists, and their rule tests pass."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.fakes import FakeHasura

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "metadata.rules.yml"


def rules() -> list[dict[str, Any]]:
    """Return all alerts of the metadata."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


async def test_every_alert_is_of_a_check_that_the_handlers_make() -> None:
    checks = {"database", "event_trigger", *await FakeHasura().examine()}
    for rule in rules():
        (check,) = re.findall(r'pancake_engine_check\{check="(\w+)"\}', rule["expr"])
        assert check in checks, rule["alert"]


def test_every_alert_has_a_section_in_the_runbook() -> None:
    for rule in rules():
        path, _, anchor = rule["annotations"]["runbook"].partition("#")
        headings = re.findall(r"^## (\w+)$", (ROOT / path).read_text(), re.MULTILINE)
        assert anchor in [heading.lower() for heading in headings], rule["alert"]
        assert rule["labels"]["team"] == "pancake"


def test_every_alert_has_a_case_where_it_fires_and_one_where_it_does_not() -> None:
    cases = yaml.safe_load(RULES.with_name("metadata.test.yml").read_text())["tests"]
    wanted = {f"{rule['alert']} {what}" for rule in rules() for what in ("fires", "is silent")}
    assert {case["name"] for case in cases} == wanted


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's package promtool is not installed")
def test_the_rule_tests_pass_in_promtool() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", "metadata.test.yml"],
        cwd=RULES.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
