"""docs/engine-report.md: the section that holds the results of the last run."""

import os
import platform
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

HEADING = "## The pinned image\n"


@dataclass
class SuiteResult:
    """The tests of one suite. `problem`: it did not come to its end, and the numbers say nothing."""

    name: str
    passed: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)
    problem: str = ""

    @property
    def is_ok(self) -> bool:
        return not self.failed and not self.problem and self.passed > 0


def read_results(name: str, path: Path, exit_code: int) -> SuiteResult:
    """Read the JUnit file that pytest wrote; 0 and 1 are its exit codes for tests that ran."""
    try:
        tests = list(ElementTree.parse(path).iter("testcase"))  # noqa: S314 - pytest of this clone wrote it
    except (OSError, ElementTree.ParseError):
        return SuiteResult(name, problem=f"pytest ended with exit code {exit_code} and wrote no results")
    result = SuiteResult(name)
    if exit_code not in (0, 1):
        result.problem = f"pytest ended with exit code {exit_code}"
    for test in tests:
        kinds = {part.tag for part in test}
        if kinds & {"failure", "error"}:
            file = test.get("classname", "").replace(".", "/")
            result.failed.append(f"{file}.py::{test.get('name', '')}")
        elif "skipped" in kinds:
            result.skipped += 1
        else:
            result.passed += 1
    return result


def render(version: str, results: Sequence[SuiteResult], now: datetime) -> str:
    """Return the text of the section."""
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    lines = [
        f"Run by `scripts/test --genuine` on {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC.",
        "",
        f"- Engine: {version}, the image of the `Dockerfile`",
        f"- Machine: {machine}",
        "",
        "| suite | passed | failed | skipped |",
        "|---|---|---|---|",
        *(f"| {one.name} | {one.passed} | {len(one.failed)} | {one.skipped} |" for one in results),
    ]
    for one in results:
        if one.problem:
            lines += ["", f"**{one.name}** did not come to its end: {one.problem}."]
        if one.failed:
            lines += ["", f"Failed, {one.name}:", "", "```", *one.failed, "```"]
    return "\n".join(lines) + "\n"


def replace_section(page: str, text: str) -> str:
    """Put the text in the place of what stands below HEADING, up to the next heading."""
    before, heading, rest = page.partition(HEADING)
    if not heading:
        raise ValueError(f"The page has no heading {HEADING.strip()!r}.")
    _, found, after = rest.partition("\n## ")
    return f"{before}{heading}\n{text}" + (f"{found}{after}" if found else "")
