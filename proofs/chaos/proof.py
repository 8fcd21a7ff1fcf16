"""The result of a scenario as `leads golive attest` accepts it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ops.golive.commit import commit_of_run


def proof(scenario: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result with the scenario as its kind, the present time, and the commit of the clone."""
    return {"kind": scenario, "at": datetime.now(UTC).isoformat(), "commit": commit_of_run(), **result}
