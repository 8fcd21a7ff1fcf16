"""Check, do and verify steps, one after the other; and back. The journal has every action."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from leads.domain.errors import IntegrationError
from ops.failures import CommandFailed, ExitCode
from ops.files import digest_of
from ops.golive.deploy.site import Site
from ops.golive.deploy.step import Action, Found, State, Step
from ops.golive.deploy.steps import OF_DIVA, OWN_TABLES, check, migration_ids, take_snapshot
from ops.output import say
from ops.waiting import poll

POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run made of one step: `result` is done, was done, undone, was absent, waiting, failed."""

    step: Step
    result: str
    text: str

    @property
    def stops(self) -> bool:
        return self.result in ("waiting", "failed")


def deploy(
    site: Site, steps: Sequence[Step], until: str | None = None, person_seconds: float = 0.0
) -> list[Outcome]:
    """Bring every step to done, in order; end with the first that fails, or waits longer for a person."""
    if interrupted := site.journal.interrupted():
        stopped_in, at = interrupted
        say(f"The last run was stopped in step {stopped_in} at {at:%Y-%m-%d %H:%M:%S} UTC.")
    outcomes: list[Outcome] = []
    for step in steps:
        outcomes.append(bring_forward(site, step, person_seconds))
        if outcomes[-1].stops or step.id == until:
            break
    return outcomes


def roll_back(site: Site, steps: Sequence[Step], confirmed: Sequence[str] = ()) -> list[Outcome]:
    """Undo the steps from the last back to the first."""
    migrations = migration_ids()
    outcomes: list[Outcome] = []
    is_saved = False
    for step in reversed(steps):
        if not is_saved and step.id in migrations:
            # Handlers and edge have no rights any more: a lead stored after the dump would be lost.
            if not act(site, step, take_snapshot(site, "before-rollback", OF_DIVA, OWN_TABLES)):
                return [*outcomes, _said(step, "failed", "Nothing of the schema was undone.")]
            is_saved = True
        outcomes.append(take_back(site, step, is_confirmed=step.id in confirmed))
        if outcomes[-1].stops:
            break
    return outcomes


def survey(site: Site, steps: Sequence[Step]) -> list[Outcome]:
    """Check every step, and change nothing."""
    return [Outcome(step, found.state, found.text) for step in steps for found in [check(site, step)]]


def bring_forward(site: Site, step: Step, person_seconds: float = 0.0) -> Outcome:
    """Check a step, do it if it is not done, and check again; wait so long for what a person has to do."""
    say(f"{step.id}  {step.title}")
    return _said(step, *_forward(site, step, person_seconds))


def _forward(site: Site, step: Step, person_seconds: float) -> tuple[str, str]:
    found = _look(site, step, "check")
    if found.state is State.DONE:
        return "was done", found.text
    actions = step.do(site)
    if not actions:
        under_way = step.wait_seconds if found.state is State.PARTIAL else 0.0
        return _wait_for_person(site, step, found, max(under_way, person_seconds))
    for action in actions:
        if not act(site, step, action):
            return "failed", f"{' '.join(action.argv[:3])} failed. {step.fix}"
    found = _look(site, step, "verify", step.wait_seconds)
    if found.state is State.DONE:
        return "done", found.text
    if step.do_by_hand:
        return _wait_for_person(site, step, found, person_seconds)
    return "failed", f"{found.text}. {step.fix}"


def _wait_for_person(site: Site, step: Step, found: Found, seconds: float) -> tuple[str, str]:
    """Only a person can bring the step on, or it is under way."""
    by_hand = step.do_by_hand or step.fix
    if seconds and not step.is_confirmed_by_person:
        say(f"  waits up to {seconds:.0f} s. {found.text}. {by_hand}")
        found = _look(site, step, "verify", seconds)
        if found.state is State.DONE:
            return "done", found.text
    return "waiting", f"{found.text}. {by_hand}"


def take_back(site: Site, step: Step, *, is_confirmed: bool) -> Outcome:
    """Check a step, undo it if it is there, and check again."""
    say(f"{step.id}  {step.title}")
    result, text = _back(site, step, is_confirmed=is_confirmed)
    if result in ("was absent", "undone"):
        site.journal.write("undone", step.id, text=text)
    return _said(step, result, text)


def _back(site: Site, step: Step, *, is_confirmed: bool) -> tuple[str, str]:
    found = _look(site, step, "check")
    if found.state is State.ABSENT:
        return "was absent", found.text
    if step.has_other_undo and site.journal.is_undone(step.id):
        # No check sees it, and a second "rollout undo" would bring the new version back.
        return "was undone", found.text
    if found.state is State.PARTIAL and site.journal.is_undone(step.id, "begin"):
        # Its check reads tables that the undo of an earlier step has removed since.
        return "was undone", found.text
    actions = step.undo(site)
    if not actions and step.undo_by_hand:
        return (
            ("undone", f"confirmed by {site.journal.by}") if is_confirmed else ("waiting", step.undo_by_hand)
        )
    for action in actions:
        if not act(site, step, action):
            return "failed", f"{' '.join(action.argv[:3])} failed. docs/runbook/rollback.md"
    if step.has_other_undo:
        return "undone", "its command ended well"
    found = check(site, step)
    if found.state is not State.ABSENT:
        return "failed", f"after the undo: {found.text}. docs/runbook/rollback.md"
    return "undone", found.text


def _said(step: Step, result: str, text: str) -> Outcome:
    say(f"  {result}: {text}")
    return Outcome(step, result, text)


def _look(site: Site, step: Step, event: str, seconds: float = 0.0) -> Found:
    """Check until the step is done or the time is over, and note what was found."""
    for _ in poll(seconds, POLL_SECONDS):
        found = check(site, step)
        if found.state is State.DONE:
            break
    site.journal.write(event, step.id, state=found.state.value, text=found.text)
    return found


def act(site: Site, step: Step, action: Action) -> bool:
    """Run an action between two entries of the journal; say whether it ended with 0."""
    say(f"  $ {' '.join(action.argv)}")
    site.journal.write("begin", step.id, argv=list(action.argv))
    started = time.monotonic()
    try:
        code, digest = action.run()
    except (CommandFailed, IntegrationError) as error:
        say(f"  {error}")
        code, digest = ExitCode.FAILED, digest_of(str(error).encode())
    seconds = round(time.monotonic() - started, 3)
    end = {"argv": list(action.argv), "exit": int(code), "seconds": seconds, "output_sha256": digest}
    site.journal.write("end", step.id, **end)
    return code == ExitCode.OK
