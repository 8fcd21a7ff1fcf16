"""The command line of `leads golive precheck`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ops.golive.criterion import Part
from ops.golive.gates import DEFAULT_RECORDS, RecordsFolder, show
from ops.golive.precheck.evaluating import PLAN, PlanOption, evaluate_parts
from ops.metadata.deploy import Source
from ops.output import AsJson


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
    PROMETHEUS_URL, PUBLIC_URL and golive.yaml; what is missing is inconclusive,
    never a pass. Exit codes: 0 all passed, 1 something failed or is
    inconclusive, 3 only services that do not answer are in the way.
    """
    chosen = [Part(area.value) for area in areas or list(Area)]
    evaluation = evaluate_parts("pre-check", chosen, Path(folder), file, source)
    show(evaluation, as_json=as_json)
    raise typer.Exit(evaluation.exit_code)
