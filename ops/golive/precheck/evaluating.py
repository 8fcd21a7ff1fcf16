"""Evaluate parts of the checklist with every probe, and show what was found."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ops.golive.criterion import Part
from ops.golive.deploy.plan_file import read_plan_file
from ops.golive.document import evaluation_document
from ops.golive.gates import Evaluation, Inputs, criteria_of, evaluate
from ops.golive.load import load_criteria
from ops.golive.opening import open_inputs
from ops.golive.precheck.link import Link
from ops.golive.probes import probes_of
from ops.golive.text import print_evaluation
from ops.output import print_json, show_activity

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
    criteria = load_criteria()
    wanted = [each for part in parts for each in criteria_of(part, criteria)]
    with open_probes(folder, file, source) as inputs, show_activity(f"evaluating {subject}"):
        return evaluate(subject, wanted, inputs, datetime.now(UTC))


def show(evaluation: Evaluation, *, as_json: bool) -> None:
    """Print an evaluation: what is open first, each with the fix."""
    if as_json:
        print_json(evaluation_document(evaluation))
    else:
        print_evaluation(evaluation, Console())
