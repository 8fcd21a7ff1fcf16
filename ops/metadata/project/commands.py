"""The command lines of `leads metadata merge`, `unmerge` and `check`."""

from pathlib import Path
from typing import Annotated

import typer

from ops.failures import ExitCode
from ops.metadata.directory import DIRECTORY
from ops.metadata.opening import Directory
from ops.metadata.project.check import find_problems
from ops.metadata.project.layout import find_layout
from ops.metadata.project.plan import Plan, find_our_part, plan_merge, plan_unmerge
from ops.metadata.project.write import write_plan
from ops.metadata.steps import Step
from ops.output import AsJson, print_json, print_line, say

ProjectArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The project: it has config.yaml.")]
Database = Annotated[
    str | None, typer.Option("--source", help="The source for our tables; needed if there are several.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would change; change nothing.")]
StepOption = Annotated[Step, typer.Option("--step", help="9a: without cron triggers; 9b: everything.")]


def merge(
    into: Annotated[Path, typer.Option("--into", metavar="DIR", help="The project: it has config.yaml.")],
    step: StepOption = Step.AFTER_SERVICES, source: Database = None, own: Directory = DIRECTORY,
    dry_run: DryRun = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Put our part into a project of the Hasura CLI, or bring it to this version.

    Every other byte stays. Exit code 1: refused; nothing was changed.
    """
    plan = plan_merge(find_our_part(find_layout(into, source), step, own))
    _carry_out(plan, "Our part is in the project", dry_run=dry_run, as_json=as_json)


def unmerge(
    directory: ProjectArgument, source: Database = None, own: Directory = DIRECTORY,
    dry_run: DryRun = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Take our part out of a project of the Hasura CLI.

    Gives back the bytes from before the merge. Exit code 1: refused; nothing was changed.
    """
    plan = plan_unmerge(find_our_part(find_layout(directory, source), Step.AFTER_SERVICES, own))
    _carry_out(plan, "Our part is not in the project", dry_run=dry_run, as_json=as_json)


def check(
    directory: ProjectArgument, step: StepOption = Step.AFTER_SERVICES, source: Database = None,
    own: Directory = DIRECTORY, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Check that our part is in a project, whole and in this version.

    Exit code 1: it is not; every problem is named.
    """
    problems = find_problems(find_our_part(find_layout(directory, source), step, own))
    if as_json:
        print_json({"step": step.value, "problems": problems})
    for problem in problems:
        say(problem)
    if problems:
        say("Run: leads metadata merge --into DIR")
        raise typer.Exit(ExitCode.FAILED)
    if not as_json:
        print_line("Our part is in the project, whole and in this version.")


def _carry_out(plan: Plan, result: str, *, dry_run: bool, as_json: bool) -> None:
    described = {
        plan.layout.name(path): "remove" if text is None else "create" if plan.now[path] is None else "change"
        for path, text in plan.changes.items()
    }
    if not dry_run:
        write_plan(plan)
    if as_json:
        print_json({"dry_run": dry_run, "files": described})
        return
    for name, change in described.items():
        print_line(f"{change:6}  {name}")
    say(f"Dry run: {len(described)} files would change." if dry_run else f"{result}: {len(described)} files.")
