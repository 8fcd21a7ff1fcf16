"""`leads golive gate` and `leads golive list`."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console

from ops.failures import ExitCode, WrongUsage
from ops.golive.document import evaluation_document
from ops.golive.gates import Evaluation
from ops.golive.load import load_criteria
from ops.golive.opening import DEFAULT_RECORDS, RecordsFolder, Subject, Wave, gate_at, open_inputs
from ops.golive.text import number, print_criterion, print_evaluation, sign
from ops.output import AsJson, print_json, show_activity

TIMES = ["%Y-%m-%dT%H:%M", "%Y-%m-%d"]
At = Annotated[
    datetime | None, typer.Option("--at", formats=TIMES, help="A time in UTC; without it the present.")
]


def gate(
    subject: Annotated[Subject, typer.Argument(help="The wave whose end is judged, or the sign-off.")],
    at: At = None,
    folder: RecordsFolder = DEFAULT_RECORDS,
    as_json: AsJson = False,
) -> None:
    """Evaluate the exit gate of a wave (may the next wave begin?), or the sign-off.

    The gate is open if every criterion is pass, waived or not applicable, and the
    gate of the wave before was open when this wave began; the sign-off needs that
    of W4. What cannot be measured is inconclusive, never a pass. Exit codes: 0
    open, 1 closed, 3 closed only because a service does not answer.

    Reads DATABASE_URL, PROMETHEUS_URL and COMMIT; a source without its variable is
    inconclusive. --at judges a time in the past by what the database, Prometheus
    and the records say of it.
    """
    criteria = load_criteria()
    with open_inputs(folder) as inputs, show_activity(f"evaluating gate {subject}"):
        evaluation = gate_at(subject, criteria, inputs, moment(at))
    if as_json:
        print_json(evaluation_document(evaluation))
    else:
        print_evaluation(evaluation, Console())
    raise typer.Exit(exit_code(evaluation))


def exit_code(evaluation: Evaluation) -> ExitCode:
    """Return 0 for an open gate, 3 if only services that do not answer keep it closed, else 1."""
    if evaluation.is_open:
        return ExitCode.OK
    return ExitCode.UNREACHABLE if evaluation.is_unreachable else ExitCode.FAILED


def moment(at: datetime | None) -> datetime:
    """Return the time of an evaluation. Raises WrongUsage for one in the future."""
    now = datetime.now(UTC)
    if at is None:
        return now
    given = at.replace(tzinfo=UTC)
    if given > now:
        raise WrongUsage(f"{given:%Y-%m-%d %H:%M} UTC is in the future. Give a time in UTC.")
    return given


def list_criteria(
    wave: Annotated[
        Wave | None, typer.Option("--gate", help="Only what the gate of this wave needs.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the criteria: title and target, waves, source, lines of the checklist."""
    criteria = [each for each in load_criteria() if wave is None or wave in each.waves]
    if as_json:
        print_json([
            {
                "id": each.id, "lines": each.lines, "title": {"vi": each.title_vi, "en": each.title_en},
                "part": each.part, "waves": each.waves, "source": each.source, "query": each.query,
                "target": f"{sign(each.operator)} {number(each.target, each)}", "owner": each.owner,
                "remediation": each.remediation, "runbook": each.runbook,
            }
            for each in criteria
        ])  # fmt: skip
        return
    console = Console()
    for criterion in criteria:
        print_criterion(criterion, console)
