"""Call the action pancake_replay_events, and read what its rows became."""

import getpass
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from leads.domain.replay import ReplayedEvent
from ops.clients.hasura_admin import HasuraAdmin, RequestRefused
from ops.failures import CommandFailed, WrongUsage
from ops.metadata.directory import DirectoryError, role_of_action
from ops.output import say

REPLAY = """
mutation PancakeReplay(
  $ids: [bigint!], $filter: PancakeReplayFilter, $corrected_phone: String, $force: Boolean, $dry_run: Boolean,
  $wait: Boolean
) {
  pancake_replay_events(
    ids: $ids, filter: $filter, corrected_phone: $corrected_phone, force: $force, dry_run: $dry_run,
    wait: $wait
  ) {
    dry_run matched replayed remaining changed returned arrived held rate_per_second refused changes
    replayed_ids processing_paused
  }
}
"""
EVENTS = """
query PancakeReplayedEvents($ids: [bigint!]!) {
  pancake_webhook_event(where: {id: {_in: $ids}}) {
    id status outcome result: evidence(path: "result") held_by: evidence(path: "held_by")
    error_code ticket_id assignee_id
  }
  view_pancake_setting { processing_paused }
}
"""
NAMES = """
query PancakeOwners($ids: [uuid!]!) {
  staff(where: {id: {_in: $ids}}) { id full_name }
}
"""
CALL_TIMEOUT_SECONDS = 70.0
MAX_BUSY_SECONDS = 60.0
"""How long to wait for another replay to end."""


class ReplayAction:
    """Context manager around the action, called under the role that may call it.

    `script:` and the operator's login name are recorded as the caller.
    """

    def __init__(self, hasura: HasuraAdmin, busy_wait_seconds: float = 1.0) -> None:
        self._hasura = hasura
        self._busy_wait_seconds = busy_wait_seconds

    @classmethod
    def at(cls, hasura_url: str, admin_secret: str) -> "ReplayAction":
        """Return the action of the engine at `hasura_url`."""
        return cls(
            HasuraAdmin(
                hasura_url,
                admin_secret,
                headers=session_headers(),
                timeout_seconds=CALL_TIMEOUT_SECONDS,
                use_proxies=True,
            )
        )

    def call(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the action's report, without the results of the rows: those are loaded later.

        While another replay runs, the call is repeated. Raises CommandFailed.
        """
        deadline = time.monotonic() + MAX_BUSY_SECONDS
        has_waited = False
        while True:
            try:
                answer = self._hasura.graphql(REPLAY, {**request, "wait": False})
                report: dict[str, Any] = answer["pancake_replay_events"]
            except RequestRefused as error:
                if error.code != "busy" or time.monotonic() > deadline:
                    raise CommandFailed(f"Hasura refused the replay: {error}") from error
            else:
                return report
            if not has_waited:
                say(f"Another replay is running. Waiting up to {MAX_BUSY_SECONDS:.0f} s until it ends ...")
            has_waited = True
            time.sleep(self._busy_wait_seconds)

    def load_events(self, ids: Sequence[int]) -> tuple[list[ReplayedEvent], bool]:
        """Return the states of events, and whether processing is paused."""
        data = self._hasura.graphql(EVENTS, {"ids": list(ids)})
        paused = any(setting["processing_paused"] for setting in data["view_pancake_setting"])
        return [_event(row) for row in data["pancake_webhook_event"]], paused

    def load_names(self, staff_ids: Sequence[str]) -> dict[str, str]:
        """Return the names of members of staff by their ids."""
        staff = self._hasura.graphql(NAMES, {"ids": list(staff_ids)})["staff"] if staff_ids else []
        return {member["id"]: member["full_name"] for member in staff}

    def __enter__(self) -> Self:
        self._hasura.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hasura.__exit__(kind, error, trace)


def session_headers() -> dict[str, str]:
    """Return the headers of an operator's Hasura session. Raises WrongUsage."""
    try:
        role = role_of_action("pancake_replay_events")
    except DirectoryError as error:
        raise WrongUsage(str(error)) from error
    return {"X-Hasura-Role": role, "X-Hasura-User-Id": f"script:{getpass.getuser()}"}


def _event(row: Mapping[str, Any]) -> ReplayedEvent:
    return ReplayedEvent(
        id=int(row["id"]),  # text, if the engine is set to give large numbers as text
        status=row["status"],
        result=row["result"] or row["outcome"],
        error_code=row["error_code"],
        held_by=row["held_by"],
        ticket_id=row["ticket_id"],
        owner_id=row["assignee_id"],
    )
