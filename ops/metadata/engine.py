"""The metadata API of an engine."""

import re
from collections.abc import Iterable, Sequence

from leads.adapters.database import SQL_FOLDER, load_queries
from ops.clients.hasura_admin import HasuraAdmin, RequestRefused
from ops.failures import CommandFailed
from ops.metadata.pieces import Json

PROBE = "pancake_preflight"
NEVER_SET = "PANCAKE_PREFLIGHT_NEVER_SET"
NEVER_SOON = "0 0 1 1 *"
NOT_FOUND = "Value for environment variables not found: "
"""What the engine says before the names, which it separates by commas."""
WORD = re.compile(r"\w+")
STATEMENTS = load_queries(SQL_FOLDER / "engine")
"""What the engine asks its source for us, with its own rights."""


class Engine(HasuraAdmin):
    """The metadata of one engine. Every method raises RequestRefused, AccessDenied and HasuraUnavailable."""

    def export(self) -> tuple[Json, int]:
        """Return the metadata and its version."""
        answer = self._send({"type": "export_metadata", "version": 2, "args": {}})
        return answer["metadata"], answer["resource_version"]

    def replace(self, metadata: Json, version: int, *, allow_inconsistent: bool = False) -> list[str]:
        """Replace all metadata, if it was not changed since `version`; return the engine's warnings."""
        arguments = {"allow_inconsistent_metadata": allow_inconsistent, "metadata": metadata}
        request = {"type": "replace_metadata", "version": 2, "resource_version": version, "args": arguments}
        return [str(each.get("message")) for each in self._send(request).get("warnings") or []]

    def reload(self) -> None:
        """Let the engine read its metadata again; crons without future events get theirs."""
        self._send({"type": "reload_metadata", "args": {}})

    def missing_variables(self, names: Sequence[str]) -> list[str]:
        """Return which of `names` the engine's environment lacks; nothing is changed.

        One request: a cron trigger whose webhook has all the names and one that is never set. The engine
        resolves the webhook before it stores anything, so it always refuses, and lists what it lacks in
        `error`, which it answers with HASURA_GRAPHQL_ADMIN_INTERNAL_ERRORS=false too.
        """
        if not names:
            return []
        webhook = "/".join("{{" + name + "}}" for name in (*names, NEVER_SET))
        arguments = {
            "name": PROBE, "webhook": webhook, "schedule": NEVER_SOON, "include_in_metadata": True,
        }  # fmt: skip
        try:
            self._send({"type": "create_cron_trigger", "args": arguments})
        except RequestRefused as error:
            lacking = WORD.findall(error.reason.partition(NOT_FOUND)[2])
            if NEVER_SET not in lacking:
                raise
            return [name for name in names if name in lacking]
        raise CommandFailed(
            f"The engine has the variable {NEVER_SET}, and so created the cron trigger {PROBE}. "
            "Delete the trigger, take the variable out of the engine's environment, then run this again."
        )

    def version(self) -> str:
        return str(self._read("/v1/version").get("version"))

    def configuration(self) -> Json:
        """Return what the console asks first: naming convention, allow list and the like."""
        return self._read("/v1alpha1/config")

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
            answers = self._send({"type": "bulk", "args": list(requests.values())}, kind=list)
        except RequestRefused:
            return {name: self._count_alone(request) for name, request in requests.items()}
        return {name: _read_count(answer) for name, answer in zip(requests, answers, strict=True)}

    def _count_alone(self, request: Json) -> int | None:
        try:
            return _read_count(self._send(request))
        except RequestRefused as error:
            if error.code == "not-exists":
                return None
            raise

    def invoke_event_trigger(self, name: str, source: str, row: Json) -> str:
        """Let an event trigger deliver a row, as the console does; return the event's id."""
        arguments = {"name": name, "source": source, "payload": row}
        answer = self._send({"type": "pg_invoke_event_trigger", "args": arguments})
        return str(answer["event_id"])

    def invocations(self, event_id: str, source: str) -> list[Json]:
        """Return the deliveries of an event so far, newest first, with the answers."""
        arguments = {"event_id": event_id, "source": source}
        answer = self._send({"type": "pg_get_event_by_id", "args": arguments})
        return list(answer["invocations"])

    def recorded_migrations(self, source: str) -> list[str]:
        """Return the versions of the migrations that the Hasura CLI has applied, by its own record."""
        return list(self._cli_state().get("migrations", {}).get(source, {}))

    def record_migrations(self, source: str, versions: Sequence[str], *, is_applied: bool) -> None:
        """Add migrations to the record of the Hasura CLI, or take them out; nothing is executed.

        The form is that of the CLI: version, and whether its application was interrupted ("dirty").
        """
        state = self._cli_state()
        migrations = state.get("migrations", {})
        others = {
            version: dirty for version, dirty in migrations.get(source, {}).items() if version not in versions
        }
        own = dict.fromkeys(versions, False) if is_applied else {}
        state |= {"migrations": migrations | {source: others | own}, "isStateCopyCompleted": True}
        state.setdefault("settings", {"migration_mode": "true"})
        self._send({"type": "set_catalog_state", "args": {"type": "cli", "state": state}})

    def _cli_state(self) -> Json:
        return dict(self._send({"type": "get_catalog_state", "args": {}}).get("cli_state") or {})

    def install_triggers(self) -> None:
        """Have the engine create the SQL triggers of all event triggers again."""
        self._send({"type": "reload_metadata", "args": {"recreate_event_triggers": True}})

    def cron_invocations(self, name: str, most: int) -> list[Json]:
        """Return the last calls of a cron trigger, newest first, each with its status and `created_at`."""
        arguments = {"type": "cron", "trigger_name": name, "limit": most, "offset": 0}
        return list(self._send({"type": "get_scheduled_event_invocations", "args": arguments})["invocations"])

    def set_permission(self, action: str, role: str, *, is_allowed: bool) -> None:
        """Allow an action to a role, or take that back."""
        kind = "create_action_permission" if is_allowed else "drop_action_permission"
        self._send({"type": kind, "args": {"action": action, "role": role}})

    def run_sql(self, name: str, source: str, *, read_only: bool = True) -> list[list[str]]:
        """Run one of STATEMENTS as the role of the engine; return the rows of its last statement, as text."""
        arguments = {
            "sql": STATEMENTS[name].decode(), "source": source, "read_only": read_only,
            "check_metadata_consistency": False,
        }  # fmt: skip
        answer = self._send({"type": "run_sql", "args": arguments}, path="/v2/query")
        return list(answer.get("result") or [])[1:]


def _count_scheduled(cron: str) -> Json:
    arguments = {
        "type": "cron", "trigger_name": cron, "status": ["scheduled"], "limit": 1, "offset": 0,
        "get_rows_count": True,
    }  # fmt: skip
    return {"type": "get_scheduled_events", "args": arguments}


def _read_count(answer: Json) -> int:
    return int(answer.get("count") or 0)
