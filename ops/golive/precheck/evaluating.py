"""Evaluate parts of the checklist with every probe."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ops.golive.criterion import Part, criteria_of
from ops.golive.deploy.plan_file import read_plan_file
from ops.golive.gates import Evaluation, Inputs, evaluate, open_inputs
from ops.golive.precheck.link import Link
from ops.golive.probes import probes_of
from ops.output import show_activity

PlanOption = Annotated[Path, typer.Option("--file", help="What is special to your installation.")]
PLAN = Path("golive.yaml")


@contextmanager
def open_probes(folder: Path, file: Path, source: str) -> Iterator[Inputs]:
    """Open the sources with every probe. Raises RecordsError, SettingsError and WrongUsage."""
    with open_inputs(folder) as inputs, Link(read_plan_file(file), source, folder) as link:
        yield replace(inputs, probes=probes_of(link))


def evaluate_parts(
    subject: str, parts: Sequence[Part], folder: Path, file: Path, source: str
) -> Evaluation:  # fmt: skip
    """Measure and judge every criterion of these parts now."""
    with open_probes(folder, file, source) as inputs, show_activity(f"evaluating {subject}"):
        return evaluate(subject, criteria_of(*parts), inputs, datetime.now(UTC))
