"""The metadata API of an engine."""

from collections.abc import Iterable
from typing import Any

from leads.adapters.hasura_admin import HasuraAdmin, RequestRefused
from leads.cli.failures import CommandFailed
from leads.cli.metadata.pieces import Json


class MetadataError(CommandFailed):
    """The command cannot continue. Nothing was changed unless the message says so."""


class Engine:
    """The metadata of one engine. Every method raises MetadataError, AccessDenied and HasuraUnavailable."""

    def __init__(self, hasura: HasuraAdmin) -> None:
        self._hasura = hasura
        self.url = hasura.url

    def export(self) -> tuple[Json, int]:
        """Return the metadata and its version."""
        answer = self._send({"type": "export_metadata", "version": 2, "args": {}})
        return answer["metadata"], answer["resource_version"]

    def replace(self, metadata: Json, version: int, *, allow_inconsistent: bool = False) -> None:
        """Replace all metadata, if it was not changed since `version`."""
        arguments = {"allow_inconsistent_metadata": allow_inconsistent, "metadata": metadata}
        request = {"type": "replace_metadata", "version": 2, "resource_version": version, "args": arguments}
        self._send(request)

    def refused_replacement(self, metadata: Json, version: int) -> None:
        """Send metadata that the engine refuses as a whole. Raises RequestRefused, which names each fault."""
        arguments = {"allow_inconsistent_metadata": False, "metadata": metadata}
        self._hasura.metadata(
            {"type": "replace_metadata", "version": 2, "resource_version": version, "args": arguments}
        )

    def version(self) -> str:
        return str(self._hasura.read("/v1/version").get("version"))

    def configuration(self) -> Json:
        """Return what the console asks first: naming convention, allow list and the like."""
        return self._hasura.read("/v1alpha1/config")

    def has_allow_list(self) -> bool:
        """Return whether only allowed queries are answered."""
        return bool(self.configuration().get("is_allow_list_enabled"))

    def inconsistencies(self) -> dict[str, str]:
        """Return the inconsistent objects by name, with the reason."""
        answer = self._send({"type": "get_inconsistent_metadata", "args": {}})
        return {str(each.get("name")): str(each.get("reason")) for each in answer["inconsistent_objects"]}

    def future_events(self, crons: Iterable[str]) -> dict[str, int | None]:
        """Count the scheduled events of each cron trigger; None for one that is inconsistent.

        One request for all, unless the engine refuses it: it does not know an inconsistent cron trigger, and
        answers `not-exists`.
        """
        requests = {name: _count_scheduled(name) for name in crons}
        try:
            answers = self._hasura.bulk(list(requests.values()))
        except RequestRefused:
            return {name: self._count_alone(request) for name, request in requests.items()}
        return {name: _read_count(answer) for name, answer in zip(requests, answers, strict=True)}

    def _count_alone(self, request: Json) -> int | None:
        try:
            return _read_count(self._hasura.metadata(request))
        except RequestRefused as error:
            if error.code == "not-exists":
                return None
            raise self._refused(error) from error

    def invoke_event_trigger(self, name: str, source: str, row: Json) -> str:
        """Let an event trigger deliver a row, as the console does; return the event's id.

        Raises RequestRefused, for example if the engine has no such trigger.
        """
        arguments = {"name": name, "source": source, "payload": row}
        answer = self._hasura.metadata({"type": "pg_invoke_event_trigger", "args": arguments})
        return str(answer["event_id"])

    def invocations(self, event_id: str, source: str) -> list[Json]:
        """Return the deliveries of an event so far, newest first, with the answers."""
        arguments = {"event_id": event_id, "source": source}
        answer = self._send({"type": "pg_get_event_by_id", "args": arguments})
        return list(answer["invocations"])

    def set_permission(self, action: str, role: str, *, is_allowed: bool) -> None:
        """Allow an action to a role, or take that back."""
        kind = "create_action_permission" if is_allowed else "drop_action_permission"
        self._send({"type": kind, "args": {"action": action, "role": role}})

    def run_sql(self, sql: str, source: str, *, read_only: bool = True) -> list[list[str]]:
        """Run SQL as the role of the engine; return the rows of its last statement, as text."""
        try:
            return self._hasura.run_sql(sql, source, read_only=read_only)
        except RequestRefused as error:
            raise self._refused(error) from error

    def _send(self, request: dict[str, Any]) -> Json:
        try:
            return self._hasura.metadata(request)
        except RequestRefused as error:
            raise self._refused(error) from error

    def _refused(self, error: RequestRefused) -> MetadataError:
        if error.code == "conflict":
            return MetadataError(
                "The metadata was changed by another client at the same time. Nothing was changed: "
                "run this again."
            )
        return MetadataError(f"{self.url} refused the request {error}")


def _count_scheduled(cron: str) -> Json:
    arguments = {
        "type": "cron", "trigger_name": cron, "status": ["scheduled"], "limit": 1, "offset": 0,
        "get_rows_count": True,
    }  # fmt: skip
    return {"type": "get_scheduled_events", "args": arguments}


def _read_count(answer: Json) -> int:
    return int(answer.get("count") or 0)
