"""Carry out a step of a deployment, and print what came of it."""

from enum import StrEnum
from typing import Any

import typer

from ops.failures import ExitCode
from ops.metadata.changes import Change
from ops.metadata.deploy import MAX_EVENTS_WAIT_SECONDS, Deployment
from ops.metadata.engine import MetadataError
from ops.metadata.probe import MAX_WAIT_SECONDS
from ops.metadata.source import count_waiting
from ops.metadata.waiting import fire_waiting
from ops.output import ForeignTextConsole, print_block, print_json, say, show_activity


class Step(StrEnum):
    """The two steps of a deployment."""

    BEFORE_SERVICES = "9a"
    AFTER_SERVICES = "9b"


def apply_step(deployment: Deployment, step: Step, *, over_drift: bool, as_json: bool) -> None:
    """Apply a step and check it. Raises MetadataError, and Exit with code 1 for a problem."""
    path = apply_pieces(deployment, step, over_drift=over_drift)
    report(verify_after(deployment, step), {"step": step.value, "backup": str(path)}, as_json=as_json)


def apply_pieces(deployment: Deployment, step: Step, *, over_drift: bool) -> str:
    """Apply the pieces of a step; return the path of the backup. Raises MetadataError."""
    if note := deployment.describe_allow_list(step):
        say(note)
    path = deployment.apply(step, over_drift=over_drift)
    say(f"Applied {step}. The state before is in {path}.")
    return str(path)


def dry_run_step(deployment: Deployment, step: Step, *, over_drift: bool, as_json: bool) -> None:
    """Check what a step checks, and print what it would change. Raises MetadataError."""
    deployment.check_before(step, over_drift=over_drift)
    if note := deployment.describe_allow_list(step):
        say(note)
    show_changes(step, deployment.changes(step), "Nothing would change.", as_json=as_json)


def show_changes(step: Step, changes: list[Change], if_none: str, *, as_json: bool) -> None:
    """Print changes, each object as a block; without any, say so."""
    if as_json:
        print_json({"step": step.value, "changes": [change.document() for change in changes]})
    elif changes:
        console = ForeignTextConsole()
        for change in changes:
            print_block(change.block(), console, level=0)
    else:
        say(if_none)


def verify_after(deployment: Deployment, step: Step) -> list[str]:
    """List the problems after a step was applied; wait for what the engine does later."""
    return deliver_probe(deployment, step) + verify_pieces(deployment, step)


def recover_pieces(deployment: Deployment, *, as_json: bool) -> None:
    """Put back what is missing, and process what was stored meanwhile.

    Raises MetadataError, and Exit with code 1 for a problem.
    """
    for step in Step:
        apply_pieces(deployment, step, over_drift=False)
    problems = deliver_probe(deployment, Step.AFTER_SERVICES)
    waiting = count_waiting(deployment.engine, deployment.source)
    fired = None if problems else _fire_waiting(deployment)
    what = (
        "pancake_retry_failed begins within two minutes"
        if fired is None
        else f"{fired} of them had no event and were fired again"
    )
    say(f"{waiting} rows wait to be processed; {what}.")
    problems += verify_pieces(deployment, Step.AFTER_SERVICES)
    report(problems, {"waiting": waiting, "fired": fired}, as_json=as_json)


def _fire_waiting(deployment: Deployment) -> int | None:
    """Return how many rows were fired; None if that was refused, and say why."""
    try:
        with show_activity("firing what waits"):
            return fire_waiting(deployment.engine, deployment.source)
    except MetadataError as error:
        say(f"What waits was not fired: {error}")
        return None


def verify_pieces(deployment: Deployment, step: Step) -> list[str]:
    """List what is not as it should be; wait until the engine has scheduled the crons."""
    if step is Step.AFTER_SERVICES:
        say(f"Waiting up to {MAX_EVENTS_WAIT_SECONDS:.0f} s until the engine has scheduled every cron ...")
    with show_activity("verifying"):
        return deployment.verify(step, MAX_EVENTS_WAIT_SECONDS)


def deliver_probe(deployment: Deployment, step: Step) -> list[str]:
    """Deliver a probe event; return what is wrong. Before the services are deployed no answer is needed."""
    with show_activity("delivering a probe event"):
        probe = deployment.deliver_probe(MAX_WAIT_SECONDS)
    if not probe.problem:
        say("The handlers answered a probe event.")
    elif step is Step.BEFORE_SERVICES and not probe.is_answered:
        say(f"Not a problem before the services are deployed: {probe.problem}. 9b looks again.")
    else:
        return [probe.problem]
    return []


def report(problems: list[str], result: dict[str, Any], *, as_json: bool) -> None:
    """Print the result of a check. Raises Exit with code 1 if there are problems."""
    if as_json:
        print_json(result | {"problems": problems})
    for problem in problems:
        say(problem)
    if problems:
        raise typer.Exit(ExitCode.FAILED)
    if not as_json:
        typer.echo("Verified: our metadata is in place and nothing is inconsistent.")
