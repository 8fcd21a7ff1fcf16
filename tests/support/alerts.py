"""The alert rules, and their cases as tests of promtool."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
FILES = ("pancake", "edge", "meta")
"""The rule files, `<name>.rules.yml`, and their cases in tests/deploy/alert_cases."""
Rule = dict[str, Any]


def all_rules(name: str) -> list[Rule]:
    """The rules of a file, recordings too."""
    groups = yaml.safe_load((PROMETHEUS / f"{name}.rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts(*names: str) -> list[Rule]:
    """The alerts of these files, or of all."""
    return [rule for name in names or FILES for rule in all_rules(name) if "alert" in rule]


def cases(name: str) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The cases of a file: by alert, `fires` and `silent`."""
    path = ROOT / "tests" / "deploy" / "alert_cases" / f"{name}.yml"
    return yaml.safe_load(path.read_text())  # type: ignore[no-any-return]


def write_promtool_tests(name: str, folder: Path) -> list[Path]:
    """Write the cases as test files of promtool: one for each alert, with the rules that it needs."""
    by_name = {rule["alert"]: rule for rule in alerts(name)}
    return [_write(by_name[alert], found, folder) for alert, found in cases(name).items()]


def recorded() -> list[Rule]:
    """The rules that record series, in the order of evaluation."""
    return [rule for name in FILES for rule in all_rules(name) if "record" in rule]


def recordings(rule: Rule) -> list[Rule]:
    """The rules that record what a rule reads, also through others, in the order of evaluation."""
    needed: list[Rule] = []
    read = rule["expr"]
    for other in reversed(recorded()):
        if re.search(rf"\b{other['record']}\b", read):
            needed.insert(0, other)
            read += other["expr"]
    return needed


def _write(rule: Rule, found: dict[str, list[dict[str, Any]]], folder: Path) -> Path:
    rules = {"groups": [{"name": "one", "rules": [*recordings(rule), rule]}]}
    steps = {case.get("step", "1m") for listed in found.values() for case in listed}
    (step,) = steps
    tests = [_test(rule, kind, case, step) for kind, listed in found.items() for case in listed]
    rule_file, path = folder / f"{rule['alert']}.rules.yml", folder / f"{rule['alert']}.test.yml"
    rule_file.write_text(yaml.safe_dump(rules))
    path.write_text(
        yaml.safe_dump({"rule_files": [rule_file.name], "evaluation_interval": step, "tests": tests})
    )
    return path


def _test(rule: Rule, kind: str, case: dict[str, Any], step: str) -> dict[str, Any]:
    series = [{"series": name, "values": str(values)} for name, values in case["series"].items()]
    if kind == "silent":
        first, last = minutes(case.get("from", "0m")), minutes(case["at"])
        # At most 60 times, and at the end.
        every = max(minutes(step), (last - first) // 60)
        checked = [_expect(rule, minute, []) for minute in (*range(first, last, every), last)]
    else:
        checked = [_expect(rule, minutes(case["at"]), case["labels"])]
        if "before" in case:
            checked.append(_expect(rule, minutes(case["before"]), []))
    name = f"{rule['alert']} {kind}"
    return {"name": name, "interval": step, "input_series": series, "alert_rule_test": checked}


def _expect(rule: Rule, minute: int, found: list[dict[str, str]]) -> dict[str, Any]:
    expected = [
        {
            "exp_labels": rule["labels"] | labels,
            "exp_annotations": {key: _fill(text, labels) for key, text in rule["annotations"].items()},
        }
        for labels in found
    ]
    return {"eval_time": f"{minute}m", "alertname": rule["alert"], "exp_alerts": expected}


def _fill(text: str, labels: dict[str, str]) -> str:
    """The text of an annotation with the values of the labels."""
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: labels[match[1]], text)


def minutes(duration: str) -> int:
    """The minutes of a duration of the cases, always written in minutes."""
    return int(duration.removesuffix("m"))
