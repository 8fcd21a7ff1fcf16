"""The command line of `leads replay`."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

from leads.domain.errors import BadRequest, IntegrationError
from leads.domain.replay import ReplayResults, read_request
from ops.failures import CommandFailed, ExitCode, WrongUsage
from ops.output import AsJson, ForeignTextConsole, print_json, progress_bar, say, show_activity
from ops.replay.action import ReplayAction
from ops.replay.draining import Drain
from ops.replay.dry_run import staff_ids
from ops.replay.following import FollowedEvents, follow
from ops.replay.report import print_report
from ops.settings import read_operator_settings

AFTER_PAUSE = "They are processed when the pause ends: do not replay them again."
STILL_WAITING = "They stay in the queue: do not replay them again.\nLook at them later in Settings, Events."
TIME_FORMAT = "a date (from midnight in Vietnam) or an ISO 8601 time (UTC if it names no zone)."


def replay(
    ids: Annotated[list[int] | None, typer.Argument(help="Event ids; or use the options below.")] = None,
    status: Annotated[str | None, typer.Option(help="failed, dead_letter, skipped_kill_switch …")] = None,
    error_code: Annotated[str | None, typer.Option(help="Only rows with this error code.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Only rows of this source (its id at Pancake or in Diva's database).")
    ] = None,
    since: Annotated[str | None, typer.Option("--from", help=f"Created at or after {TIME_FORMAT}")] = None,
    until: Annotated[str | None, typer.Option("--to", help=f"Created before {TIME_FORMAT}")] = None,
    limit: Annotated[int | None, typer.Option(help="Maximum number of rows.", min=1, max=1000)] = None,
    corrected_phone: Annotated[
        str | None, typer.Option(help="The right phone, for one row with invalid_phone.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Apply even an older or unchanged version.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    drain_all: Annotated[
        bool, typer.Option("--drain", help="Repeat until no row is held. For the statuses skipped_….")
    ] = False,
    wait: Annotated[
        bool,
        typer.Option("--wait/--no-wait", help="Wait until the rows are processed; report the results."),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Process events again through Hasura and report their results.

    Needs HASURA_URL and HASURA_ADMIN_SECRET. Exit code 1: rows were refused or are
    left, or a replayed row is held again, failed, a dead letter or still waiting.
    """
    criteria: dict[str, Any] = {"status": status, "error_code": error_code, "source_id": source}
    criteria |= {"from": since, "to": until, "limit": limit}
    given = {name: value for name, value in criteria.items() if value is not None}
    request: dict[str, Any] = {"ids": ids} if ids else {"filter": given}
    request |= {"corrected_phone": corrected_phone, "force": force, "dry_run": dry_run}
    _check(request, bool(ids and given), drain_all)
    settings = read_operator_settings("HASURA_URL", "HASURA_ADMIN_SECRET")
    with ReplayAction.at(settings.hasura_url, settings.hasura_admin_secret) as action:
        if drain_all:
            report = _drain(action, request, wait=wait, as_json=as_json)
        else:
            with show_activity("replaying"):
                report = action.call(request)
            _finish(action, report, wait=wait and not dry_run, as_json=as_json)
    if report["refused"] or (report["remaining"] and not dry_run) or _has_failures(report["results"]):
        raise typer.Exit(ExitCode.FAILED)


def _drain(action: ReplayAction, request: dict[str, Any], *, wait: bool, as_json: bool) -> dict[str, Any]:
    """Drain and show the report, also that of a drain that failed or was interrupted on its way."""
    drain = Drain()
    try:
        drain.run(action, request, progress_bar(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()))
    except CommandFailed:
        if drain.report:
            _finish(action, drain.report, wait=wait, as_json=as_json)
        raise
    except (IntegrationError, KeyboardInterrupt):
        if drain.report:
            _finish(action, drain.report, wait=False, as_json=as_json)
        raise
    _finish(action, drain.report, wait=wait, as_json=as_json)
    return drain.report


def _finish(action: ReplayAction, report: dict[str, Any], *, wait: bool, as_json: bool) -> None:
    """Show the report: with the results of the rows, if they are waited for."""
    report["results"] = None
    if wait:
        _add_results(action, report, as_json=as_json)
    _show(report, {} if as_json else _load_names(action, report), as_json=as_json)


def _add_results(action: ReplayAction, report: dict[str, Any], *, as_json: bool) -> None:
    """Follow the replayed rows, and add their results to the report.

    If that fails or is interrupted, the report is shown at once: the rows are replayed all the same.
    """
    events = FollowedEvents(report["replayed_ids"], processing_paused=report["processing_paused"])
    try:
        follow(action, events, progress_bar())
    except (IntegrationError, KeyboardInterrupt):
        _show(report | {"results": events.results()}, {}, as_json=as_json)
        raise
    report |= {"results": events.results(), "processing_paused": events.processing_paused}


def _load_names(action: ReplayAction, report: dict[str, Any]) -> dict[str, str]:
    """Return the names of the owners in the results, or of the staff in a dry run's changes."""
    ids = staff_ids(report["changes"])
    ids |= {owner["id"] for owner in report["results"]["owners"]} if report["results"] else set()
    return action.load_names(sorted(ids))


def _show(report: dict[str, Any], names: Mapping[str, str], *, as_json: bool) -> None:
    if as_json:
        print_json(report)
    else:
        print_report(report, ForeignTextConsole(), names)
    if reason := _describe_waiting(report):
        say(reason)


def _describe_waiting(report: dict[str, Any]) -> str:
    """Return why rows wait and what to do, or nothing."""
    waiting = report["results"]["waiting"] if report["results"] else 0
    rows = "1 row" if waiting == 1 else f"{waiting} rows" if waiting else "The rows"
    verb = "waits" if waiting == 1 else "wait"
    if report["processing_paused"] and report["replayed"] and (waiting or report["results"] is None):
        return f"{rows} {verb} because processing is paused (setting processing_paused).\n{AFTER_PAUSE}"
    if waiting:
        return f"{rows} still {verb} to be processed. {STILL_WAITING}"
    return ""


def _has_failures(results: ReplayResults | None) -> bool:
    """Whether a replayed row is not processed."""
    return results is not None and any(results[name] for name in ("held", "failed", "dead_letter", "waiting"))


def _check(request: dict[str, Any], has_ids_and_filter: bool, drain_all: bool) -> None:
    """Check the request as the action does. Raises WrongUsage."""
    if has_ids_and_filter:
        raise WrongUsage("Give either ids or a filter, not both.")
    if "filter" in request and not request["filter"].keys() & {"status", "error_code", "source_id"}:
        raise WrongUsage("Give event ids, or --status, --error-code or --source.")
    if drain_all:
        status = request.get("filter", {}).get("status") or ""
        if request["dry_run"] or request["force"] or not status.startswith("skipped_"):
            raise WrongUsage(
                "--drain is for --status skipped_kill_switch or skipped_source_disabled, "
                "without --dry-run and --force."
            )
    try:
        read_request(request, {})
    except BadRequest as error:
        raise WrongUsage(str(error)) from error
