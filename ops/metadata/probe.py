"""Deliver an event without a row, and see how the handlers answer it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ops.checks.model import Check, Finding, Level, Result, When
from ops.clients.hasura_admin import RequestRefused
from ops.metadata.engine import Engine
from ops.metadata.pieces import Json, Key
from ops.waiting import poll

ROW: Json = {"id": 0}
"""Numbers of rows begin with 1: the handlers look for this one, find nothing and write nothing."""

MAX_WAIT_SECONDS = 35.0
"""More than the time-out of our event trigger, 30 s."""
CHECK_INTERVAL_SECONDS = 0.2

CHECK = Check(
    "probe-event", "Do the handlers answer an event of our event trigger?", When.CRITERION, (), lambda *_: (),
    cure="Look at the log of Hasura and of the handlers, then: leads metadata verify 9b --probe",
    runbook="docs/runbook/metadata.md#on-a-shared-engine",
)  # fmt: skip
"""It is in no table: it writes into Hasura's event log, and waits for the answer."""

UNAVAILABLE = 503
PAUSED = "processing_paused"
"""Also an answer of our handlers: Hasura delivers the event again until the pause ends."""


@dataclass(frozen=True)
class Probe:
    """The result of a probe event; no problem means that the handlers answered it."""

    problem: str = ""
    is_answered: bool = True
    """Whether the handlers answered at all. They do not before they are deployed."""

    def result(self) -> Result:
        """Return the problem as the finding of a check."""
        return Result(CHECK, CHECK.id, (Finding(Level.RED, self.problem, CHECK.cure),))


def deliver_probe(engine: Engine, source: str, pieces: Mapping[Key, Any], wait_seconds: float) -> Probe:
    """Deliver a probe event by each of our event triggers; return the first that has a problem.

    An event that is not answered is delivered again by Hasura, as any other. Raises CommandFailed.
    """
    for piece in (piece for key, piece in pieces.items() if key[0] == "table"):
        for trigger in piece.get("event_triggers", []):
            probe = _deliver(engine, source, trigger["name"], wait_seconds)
            if probe.problem:
                return probe
    return Probe()


def _deliver(engine: Engine, source: str, trigger: str, wait_seconds: float) -> Probe:
    try:
        event_id = engine.invoke_event_trigger(trigger, source, ROW)
    except RequestRefused as error:
        return Probe(f"the engine refused a probe event of {trigger}: {error.reason}")
    probe = None
    for _ in poll(wait_seconds, CHECK_INTERVAL_SECONDS):
        if invocations := engine.invocations(event_id, source):
            probe = judge(trigger, invocations[0])
            # Hasura repeats what was answered 503: the handlers may have lost their database for a moment.
            if not probe.problem or invocations[0].get("http_status") != UNAVAILABLE:
                break
    return probe or Probe(
        f"the engine did not deliver a probe event of {trigger} within {wait_seconds:.0f} s: it delivers "
        "no events (HASURA_GRAPHQL_EVENTS_FETCH_INTERVAL is 0, or "
        "HASURA_GRAPHQL_DISABLE_EVENT_PROCESSING is set), or very many wait"
    )


def judge(trigger: str, invocation: Mapping[str, Any]) -> Probe:
    """Judge the log of a delivery, as the engine keeps it: of an error the body is called message.

    Without a status the message is the engine's own, as JSON.
    """
    status = invocation.get("http_status")
    data = (invocation.get("response") or {}).get("data") or {}
    answer = _object(data.get("body") or data.get("message"))
    error = answer.get("extensions")
    code = error.get("code") if isinstance(error, dict) else None
    if (status == 200 and answer.get("event_id") == ROW["id"]) or code == PAUSED:
        return Probe()
    if status is None:
        reason = str(answer.get("message") or "the engine gives no reason").strip()
        said = f"the engine cannot reach the handlers at HANDLERS_URL: {reason}"
    elif code == "unauthorized":
        return Probe(
            "the handlers answered 401: the engine has another HANDLER_SECRET than they have. Set the same "
            "value in both, and restart what was changed"
        )
    elif code is not None:
        return Probe(f"the handlers answered {status} ({code}): their log has the reason")
    else:
        said = f"something else than our handlers answered {status} at HANDLERS_URL"
    return Probe(f"a probe event of {trigger} was not processed: {said}", is_answered=False)


def _object(text: object) -> Json:
    """Return the JSON object in a text of the engine's log; an empty one for anything else."""
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
