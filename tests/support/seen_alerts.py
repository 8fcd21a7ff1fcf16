"""Evaluate the alerts of `deploy/prometheus` by promtool, on the values that a test has seen."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "pancake.rules.yml"
MINUTES = 12
"""Longer than an alert is kept firing."""
SAMPLE = re.compile(r'^pancake_engine_check\{check="(\w+)"\} (\S+)$', re.MULTILINE)


def read_checks(handlers_url: str) -> dict[str, str]:
    """Return the metric of the checks of the engine, as Prometheus scrapes it."""
    return dict(SAMPLE.findall(httpx.get(f"{handlers_url}/metrics", timeout=30).raise_for_status().text))


def fires(alert: str, folder: Path, moments: Sequence[Mapping[str, str]]) -> bool:
    """Return whether an alert of the metadata fires after each moment held for twelve minutes.

    promtool compares with what is expected, so the answer is that of the one expectation that it accepts.
    """
    (rule,) = [each for each in _rules() if each["alert"] == alert]
    series = [
        {
            "series": f'pancake_engine_check{{check="{check}"}}',
            "values": " ".join(value for moment in moments for value in [moment[check]] * MINUTES),
        }
        for check in moments[0]
    ]
    (check,) = re.findall(r'check="(\w+)"', rule["expr"])
    firing = {"exp_labels": rule["labels"] | {"check": check}, "exp_annotations": rule["annotations"]}
    accepted = [_accepts(alert, folder, series, expected, len(moments)) for expected in ([], [firing])]
    assert sorted(accepted) == [False, True], accepted
    return accepted[1]


def alerts() -> list[str]:
    """Return the names of the alerts of the metadata."""
    return [rule["alert"] for rule in _rules()]


def _rules() -> list[dict[str, Any]]:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    return [rule for rule in rules if "alert" in rule and "pancake_engine_check" in rule["expr"]]


def _accepts(
    alert: str, folder: Path, series: list[dict[str, str]], expected: list[dict[str, Any]], moments: int
) -> bool:
    at = f"{MINUTES * moments - 1}m"
    case = {
        "interval": "1m",
        "input_series": series,
        "alert_rule_test": [{"eval_time": at, "alertname": alert, "exp_alerts": expected}],
    }
    path = folder / "seen.test.yml"
    path.write_text(
        yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [case]})
    )
    command = ["promtool", "test", "rules", str(path)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
