"""`leads golive precheck`, and the evaluation of parts of the checklist."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ops.golive.criterion import Part, criteria_of
from ops.golive.deploy.plan_file import read_plan_file
from ops.golive.gates import DEFAULT_RECORDS, Evaluation, RecordsFolder, evaluate, open_inputs, show
from ops.metadata.deploy import Source
from ops.output import AsJson, show_activity

PlanOption = Annotated[Path, typer.Option("--file", help="What is special to your installation.")]
PLAN = Path("golive.yaml")


class Area(StrEnum):
    """A part of the pre-check."""

    ENGINE = "engine"
    DATABASE = "database"
    EDGE = "edge"
    METADATA = "metadata"
    PEOPLE = "people"


def precheck(
    areas: Annotated[
        list[Area] | None, typer.Argument(metavar="[AREA]...", help="Only these; without any all of them.")
    ] = None,
    folder: RecordsFolder = DEFAULT_RECORDS,
    file: PlanOption = PLAN,
    source: Source = "default",
    as_json: AsJson = False,
) -> None:
    """Check what has to be true before the deployment, and before each wave.

    Areas: engine, database, edge, metadata, people. What is written to check a
    right or a speed is undone; no statement takes more than 30 s.

    Reads DATABASE_URL (the owner's), HASURA_URL, HASURA_ADMIN_SECRET,
    PROMETHEUS_URL, PUBLIC_URL and golive.yaml; what is missing is unknown, never
    green. Exit codes: 0 all is green, 1 something is red, yellow or unknown,
    3 only services that do not answer are in the way.
    """
    chosen = [Part(area.value) for area in areas or list(Area)]
    evaluation = evaluate_parts("pre-check", chosen, Path(folder), file, source)
    show(evaluation, as_json=as_json)
    raise typer.Exit(evaluation.exit_code)


def evaluate_parts(
    subject: str, parts: Sequence[Part], folder: Path, file: Path, source: str
) -> Evaluation:  # fmt: skip
    """Measure and judge every criterion of these parts now. Raises RecordsError and WrongUsage."""
    with open_inputs(folder, read_plan_file(file), source) as inputs, show_activity(f"evaluating {subject}"):
        return evaluate(subject, criteria_of(*parts), inputs, datetime.now(UTC))
