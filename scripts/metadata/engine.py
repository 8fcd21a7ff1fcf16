"""An engine through its metadata API."""

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import httpx

from scripts.metadata.pieces import Json

TIMEOUT_SECONDS = 120.0


class MetadataError(Exception):
    """The command cannot go on; the message says why. Nothing was changed unless it says so."""


class Engine:
    """Context manager around the connection to one engine; `secret` is its admin secret."""

    def __init__(self, url: str, secret: str) -> None:
        self.url = url.rstrip("/")
        headers = {"x-hasura-admin-secret": secret}
        self._http = httpx.Client(timeout=TIMEOUT_SECONDS, headers=headers, trust_env=False)

    def export(self) -> tuple[Json, int]:
        """The metadata and its version."""
        answer = self._ask({"type": "export_metadata", "version": 2, "args": {}})
        return answer["metadata"], answer["resource_version"]

    def replace(self, metadata: Json, version: int, *, inconsistent: bool = False) -> None:
        """Replace everything, if nobody changed anything since `version`; inconsistencies on demand only."""
        arguments = {"allow_inconsistent_metadata": inconsistent, "metadata": metadata}
        request = {"type": "replace_metadata", "version": 2, "resource_version": version, "args": arguments}
        self._ask(request)

    def inconsistencies(self) -> dict[str, str]:
        """Inconsistent objects by name, with the reason."""
        answer = self._ask({"type": "get_inconsistent_metadata", "args": {}})
        return {str(each.get("name")): str(each.get("reason")) for each in answer["inconsistent_objects"]}

    def future_events(self, crons: Iterable[str]) -> dict[str, int]:
        """How many events each cron trigger has before it."""
        counts = {}
        for name in crons:
            arguments = {
                "type": "cron", "trigger_name": name, "status": ["scheduled"], "limit": 1, "offset": 0,
                "get_rows_count": True,
            }  # fmt: skip
            answer = self._ask({"type": "get_scheduled_events", "args": arguments})
            counts[name] = int(answer.get("count") or 0)
        return counts

    def _ask(self, request: Json) -> Json:
        try:
            response = self._http.post(f"{self.url}/v1/metadata", json=request)
            answer = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise MetadataError(f"{self.url} does not answer as an engine: {type(error).__name__}") from error
        if response.status_code == 409:
            raise MetadataError("somebody else changed the metadata at the same time: run this again")
        if response.status_code != 200 or not isinstance(answer, dict):
            raise MetadataError(f"{self.url} refuses {request['type']}: {_reason(answer)}")
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()


def _reason(answer: Any) -> str:
    if not isinstance(answer, dict):
        return str(answer)[:500]
    internal = answer.get("internal")
    found = internal if isinstance(internal, list) else []
    details = [f"{each.get('name')}: {each.get('reason')}" for each in found if isinstance(each, dict)]
    return "; ".join([f"{answer.get('code')}: {answer.get('error')}", *details])
