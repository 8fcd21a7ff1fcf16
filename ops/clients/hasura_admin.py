"""Call Hasura with its admin secret, for operators' commands; handlers use leads.adapters.graphql.

Facts: https://hasura.io/docs/2.0/api-reference/metadata-api/index/ (version conflicts answer 409).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import httpx

from leads.adapters.database import SQL_FOLDER, load_queries
from leads.domain.errors import HasuraUnavailable, IntegrationError
from ops.clients.plain_http import tls_context
from ops.failures import CommandFailed, connection_reason

TIMEOUT_SECONDS = 120.0
MAX_IDLE_SECONDS = 2.0
"""How long an idle connection may be used again: a server may be closing it (uvicorn and Node after 5 s)."""
CONFLICT = "The metadata was changed by another client at the same time. Nothing was changed: run this again."
PROBE = "pancake_preflight"
NEVER_SET = "PANCAKE_PREFLIGHT_NEVER_SET"
NEVER_SOON = "0 0 1 1 *"
NOT_FOUND = "Value for environment variables not found: "
"""What the engine says before the names, which it separates by commas."""
STATEMENTS = load_queries(SQL_FOLDER / "engine")
"""What the engine asks its source for us, with its own rights."""
Json = dict[str, Any]


class AccessDenied(IntegrationError):
    """The engine does not accept the admin secret."""

    code = "access_denied"


class RequestRefused(CommandFailed):
    """The engine answered with an error: its `reason`, and its own `code`."""

    def __init__(self, url: str, reason: str, code: str | None = None) -> None:
        super().__init__(CONFLICT if code == "conflict" else f"{url} refused the request {reason}")
        self.reason, self.code = reason, code


class Engine:
    """Context manager around the connection to one engine.

    Every method that asks it raises RequestRefused, AccessDenied and HasuraUnavailable.
    """

    def __init__(
        self,
        url: str,
        admin_secret: str,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        transport: httpx.BaseTransport | None = None,
        *,
        use_proxies: bool = False,
    ) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            timeout=timeout_seconds,
            limits=httpx.Limits(keepalive_expiry=MAX_IDLE_SECONDS),
            headers={"X-Hasura-Admin-Secret": admin_secret, **(headers or {})},
            transport=transport,
            # With proxies the environment may also name the certificates.
            verify=True if use_proxies else tls_context(),
            trust_env=use_proxies,
        )

    def graphql(self, query: str, variables: Mapping[str, Any]) -> Json:
        """Send an operation; return its `data`."""
        status, answer = self._request("/v1/graphql", {"query": query, "variables": dict(variables)})
        if errors := answer.get("errors"):
            raise self._refusal(errors[0].get("extensions", {}).get("code"), errors[0].get("message", ""))
        if status != 200 or not isinstance(answer.get("data"), dict):
            raise _unavailable(f"{self.url}/v1/graphql", f"status {status}")
        data: Json = answer["data"]
        return data

    def export(self) -> tuple[Json, int]:
        answer = self._send("export_metadata", version=2)
        return answer["metadata"], answer["resource_version"]

    def replace(self, metadata: Json, version: int, *, allow_inconsistent: bool = False) -> list[str]:
        """Replace all metadata, if it was not changed since `version`; return the engine's warnings."""
        arguments = {"allow_inconsistent_metadata": allow_inconsistent, "metadata": metadata}
        answer = self._send("replace_metadata", arguments, version=2, resource_version=version)
        return [str(each.get("message")) for each in answer.get("warnings") or []]

    def reload(self) -> None:
        """Let the engine read its metadata again, which also schedules crons that have no future events."""
        self._send("reload_metadata")

    def missing_variables(self, names: Sequence[str]) -> list[str]:
        """Return which of `names` the engine's environment lacks; nothing is changed.

        One request: a cron trigger whose webhook has all the names and one that is never set. The engine
        resolves the webhook before it stores anything, so it always refuses, and lists what it lacks in
        `error`, which it answers with HASURA_GRAPHQL_ADMIN_INTERNAL_ERRORS=false too.
        """
        if not names:
            return []
        webhook = "/".join("{{" + name + "}}" for name in (*names, NEVER_SET))
        cron = {"name": PROBE, "webhook": webhook, "schedule": NEVER_SOON, "include_in_metadata": True}
        try:
            self._send("create_cron_trigger", cron)
        except RequestRefused as error:
            lacking = re.findall(r"\w+", error.reason.partition(NOT_FOUND)[2])
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
        return bool(self.configuration().get("is_allow_list_enabled"))

    def inconsistencies(self) -> dict[str, str]:
        answer = self._send("get_inconsistent_metadata")
        return {str(each.get("name")): str(each.get("reason")) for each in answer["inconsistent_objects"]}

    def future_events(self, crons: Iterable[str]) -> dict[str, int | None]:
        """Count the scheduled events of each cron trigger; None for one that is inconsistent.

        One request for all, unless the engine refuses it: it does not know an inconsistent cron trigger, and
        answers `not-exists`.
        """
        requests = {name: _count_scheduled(name) for name in crons}
        try:
            answers = self._send("bulk", list(requests.values()), kind=list)
        except RequestRefused:
            return {name: self._count_alone(request) for name, request in requests.items()}
        return {name: int(each.get("count") or 0) for name, each in zip(requests, answers, strict=True)}

    def _count_alone(self, request: Json) -> int | None:
        try:
            return int(self._send(request["type"], request["args"]).get("count") or 0)
        except RequestRefused as error:
            if error.code == "not-exists":
                return None
            raise

    def invoke_event_trigger(self, name: str, source: str, row: Json) -> str:
        """Let an event trigger deliver a row, as the console does; return the event's id."""
        arguments = {"name": name, "source": source, "payload": row}
        return str(self._send("pg_invoke_event_trigger", arguments)["event_id"])

    def invocations(self, event_id: str, source: str) -> list[Json]:
        """Return the deliveries of an event so far, newest first, with the answers."""
        answer = self._send("pg_get_event_by_id", {"event_id": event_id, "source": source})
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
        self._send("set_catalog_state", {"type": "cli", "state": state})

    def _cli_state(self) -> Json:
        return dict(self._send("get_catalog_state").get("cli_state") or {})

    def identity(self) -> str:
        """Return the identifier that the engine gave itself: `hasura_uuid` of its metadata database."""
        return str(self._send("get_catalog_state").get("id") or "")

    def install_triggers(self) -> None:
        """Have the engine create the SQL triggers of all event triggers again."""
        self._send("reload_metadata", {"recreate_event_triggers": True})

    def cron_invocations(self, name: str, most: int) -> list[Json]:
        """Return the last calls of a cron trigger, newest first, each with its status and `created_at`."""
        arguments = {"type": "cron", "trigger_name": name, "limit": most, "offset": 0}
        return list(self._send("get_scheduled_event_invocations", arguments)["invocations"])

    def set_permission(self, action: str, role: str, *, is_allowed: bool) -> None:
        """Allow an action to a role, or take that back."""
        verb = "create" if is_allowed else "drop"
        self._send(f"{verb}_action_permission", {"action": action, "role": role})

    def run_sql(self, name: str, source: str, *, read_only: bool = True) -> list[list[str]]:
        """Run one of STATEMENTS as the role of the engine; return the rows of its last statement, as text."""
        arguments = {"sql": STATEMENTS[name].decode(), "source": source, "read_only": read_only}
        arguments["check_metadata_consistency"] = False
        return list(self._send("run_sql", arguments, path="/v2/query").get("result") or [])[1:]

    def shows_internal_errors(self, source: str) -> bool:
        """Return whether answers quote statements and bodies: with DEV_MODE, or ADMIN_INTERNAL_ERRORS."""
        statement = STATEMENTS["engine/divide_by_zero"].decode()
        arguments = {"sql": statement, "source": source, "read_only": True}
        _, answer = self._request("/v2/query", {"type": "run_sql", "args": arguments})
        if answer.get("code") != "postgres-error":
            raise self._refusal(answer.get("code"), f"run_sql: {_reason(answer)}")
        return "internal" in answer

    def _send(
        self, name: str, args: object = None, path: str = "/v1/metadata", kind: type = dict, **more: int
    ) -> Any:
        """Send a request to the metadata API; return its answer, which is an object or a list."""
        request = {"type": name, "args": {} if args is None else args, **more}
        status, answer = self._request(path, request, kind)
        if status == 200:
            if not isinstance(answer, kind):
                raise RequestRefused(self.url, f"{name}: the answer is not a list")
            return answer
        if status == 409:
            raise RequestRefused(self.url, "the metadata was changed at the same time", "conflict")
        if "error" not in answer:
            raise _unavailable(f"{self.url}{path}", f"status {status}")
        raise self._refusal(answer.get("code"), f"{name}: {_reason(answer)}")

    def _read(self, path: str) -> Json:
        status, answer = self._request(path)
        if status != 200:
            raise self._refusal(answer.get("code"), _reason(answer))
        return dict(answer)

    def _request(self, path: str, body: Json | None = None, kind: type = dict) -> tuple[int, Any]:
        """Return the status and the answer: an object, or what is of `kind`."""
        url = f"{self.url}{path}"
        try:
            response = self._http.request("GET" if body is None else "POST", url, json=body)
        except httpx.LocalProtocolError as error:
            # Its text quotes the header that cannot be sent: the admin secret.
            raise _unavailable(url, "a header cannot be sent; check the admin secret") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise HasuraUnavailable(f"{url} does not answer: {connection_reason(error)}") from error
        except UnicodeError as error:
            raise RequestRefused(self.url, "an argument is not valid Unicode text") from error
        try:
            answer = response.json()
        except ValueError as error:
            raise _unavailable(url, f"status {response.status_code}, the body is not JSON") from error
        if not isinstance(answer, (dict, kind)):
            raise _unavailable(url, "the answer is not a JSON object")
        return response.status_code, answer

    def _refusal(self, code: str | None, reason: str) -> Exception:
        if code == "access-denied":
            return AccessDenied(f"{self.url} does not accept the admin secret: {reason}")
        return RequestRefused(self.url, reason, code)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()


def _unavailable(url: str, reason: str) -> HasuraUnavailable:
    return HasuraUnavailable(f"{url} does not answer as Hasura does: {reason}")


def _reason(answer: Mapping[str, Any]) -> str:
    internal = answer.get("internal")
    found = internal if isinstance(internal, list) else []
    details = [f"{each.get('name')}: {each.get('reason')}" for each in found if isinstance(each, dict)]
    return "; ".join([f"{answer.get('code')}: {answer.get('error')}", *details])


def _count_scheduled(cron: str) -> Json:
    arguments = {
        "type": "cron", "trigger_name": cron, "status": ["scheduled"], "limit": 1, "offset": 0,
        "get_rows_count": True,
    }  # fmt: skip
    return {"type": "get_scheduled_events", "args": arguments}
