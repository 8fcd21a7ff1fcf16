"""Walk through the steps: check, do, verify; and back: undo, verify. Every action is in the journal."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from leads.domain.errors import IntegrationError
from ops.failures import CommandFailed, ExitCode
from ops.files import digest_of
from ops.golive.deploy.site import Site
from ops.golive.deploy.step import Action, Found, State, Step
from ops.golive.deploy.steps import MIGRATED, OF_DIVA, OWN_TABLES, all_steps, check, take_snapshot
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


def deploy(site: Site, until: str | None = None, person_seconds: float = 0.0) -> list[Outcome]:
    """Bring every step to done, in order; end with the first that fails, or waits longer for a person."""
    if interrupted := site.journal.interrupted():
        stopped_in, at = interrupted
        say(f"The last run was stopped in step {stopped_in} at {at:%Y-%m-%d %H:%M:%S} UTC.")
    outcomes: list[Outcome] = []
    for step in all_steps():
        outcomes.append(bring_forward(site, step, person_seconds))
        if outcomes[-1].stops or step.id == until:
            break
    return outcomes


def roll_back(site: Site, to: str, confirmed: Sequence[str] = ()) -> list[Outcome]:
    """Undo the steps from the last back to `to`, which is undone too."""
    steps = all_steps()[1:]
    wanted = steps[[step.id for step in steps].index(to) :]
    outcomes: list[Outcome] = []
    is_saved = False
    for step in reversed(wanted):
        if not is_saved and step.id in MIGRATED:
            # Handlers and edge have no rights any more: a lead stored after the dump would be lost.
            if not act(site, step, take_snapshot(site, "before-rollback", OF_DIVA, OWN_TABLES)):
                return [*outcomes, _said(Outcome(step, "failed", "Nothing of the schema was undone."))]
            is_saved = True
        outcomes.append(take_back(site, step, is_confirmed=step.id in confirmed))
        if outcomes[-1].stops:
            break
    return outcomes


def survey(site: Site) -> list[Outcome]:
    """Check every step, and change nothing."""
    return [Outcome(step, found.state, found.text) for step in all_steps() for found in [check(site, step)]]


def bring_forward(site: Site, step: Step, person_seconds: float = 0.0) -> Outcome:
    """Check a step, do it if it is not done, and check again; wait so long for what a person has to do."""
    say(f"{step.id}  {step.title}")
    found = check(site, step)
    site.journal.write("check", step.id, state=found.state.value, text=found.text)
    if found.state is State.DONE:
        return _said(Outcome(step, "was done", found.text))
    actions = step.do(site)
    if not actions:
        under_way = step.wait_seconds if found.state is State.PARTIAL else 0.0
        return _said(_wait_for_person(site, step, found, max(under_way, person_seconds)))
    for action in actions:
        if not act(site, step, action):
            return _said(Outcome(step, "failed", f"{' '.join(action.argv[:3])} failed. {step.fix}"))
    found = _wait_until(site, step, State.DONE, step.wait_seconds)
    site.journal.write("verify", step.id, state=found.state.value, text=found.text)
    if found.state is State.DONE:
        return _said(Outcome(step, "done", found.text))
    if step.do_by_hand:
        return _said(_wait_for_person(site, step, found, person_seconds))
    return _said(Outcome(step, "failed", f"{found.text}. {step.fix}"))


def _wait_for_person(site: Site, step: Step, found: Found, seconds: float) -> Outcome:
    """Only a person can bring the step on, or it is under way."""
    if seconds and not step.is_confirmed_by_person:
        say(f"  waits up to {seconds:.0f} s. {found.text}. {step.do_by_hand or step.fix}")
        found = _wait_until(site, step, State.DONE, seconds)
        site.journal.write("verify", step.id, state=found.state.value, text=found.text)
        if found.state is State.DONE:
            return Outcome(step, "done", found.text)
    return Outcome(step, "waiting", f"{found.text}. {step.do_by_hand or step.fix}")


def take_back(site: Site, step: Step, *, is_confirmed: bool) -> Outcome:
    """Check a step, undo it if it is there, and check again."""
    say(f"{step.id}  {step.title}")
    found = check(site, step)
    site.journal.write("check", step.id, state=found.state.value, text=found.text)
    if found.state is State.ABSENT:
        return _said(_undone(site, step, "was absent", found.text))
    if step.has_other_undo and site.journal.is_undone(step.id):
        # No check sees it, and a second "rollout undo" would bring the new version back.
        return _said(Outcome(step, "was undone", found.text))
    actions = step.undo(site)
    if not actions and step.undo_by_hand:
        if is_confirmed:
            return _said(_undone(site, step, "undone", f"confirmed by {site.journal.by}"))
        return _said(Outcome(step, "waiting", step.undo_by_hand))
    for action in actions:
        if not act(site, step, action):
            text = f"{' '.join(action.argv[:3])} failed. docs/runbook/rollback.md"
            return _said(Outcome(step, "failed", text))
    if step.has_other_undo:
        return _said(_undone(site, step, "undone", "its command ended well"))
    found = check(site, step)
    if found.state is not State.ABSENT:
        return _said(Outcome(step, "failed", f"after the undo: {found.text}. docs/runbook/rollback.md"))
    return _said(_undone(site, step, "undone", found.text))


def _undone(site: Site, step: Step, result: str, text: str) -> Outcome:
    site.journal.write("undone", step.id, text=text)
    return Outcome(step, result, text)


def _said(outcome: Outcome) -> Outcome:
    say(f"  {outcome.result}: {outcome.text}")
    return outcome


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


def _wait_until(site: Site, step: Step, state: State, seconds: float) -> Found:
    """Check until the state is reached or the time is over."""
    for _ in poll(seconds, POLL_SECONDS):
        found = check(site, step)
        if found.state is state:
            break
    return found
