"""The effects that a stream of lead versions must have: each version processed, each record one ticket."""

from collections.abc import Iterable, Sequence

import httpx

from proofs.chaos.checker import Verdicts
from proofs.chaos.effects import Ids, check_effects, expected_assignments, observe
from proofs.chaos.stream import LeadVersion, Sent

NEW_LEAD = "noti_pancake_new_lead"


def check_stream(database_url: str, notifications_url: str, sent: Sent) -> Verdicts:
    """Check every effect of the versions that were posted. A ticket has to show its newest version."""
    notifications = httpx.get(f"{notifications_url}/sent", timeout=30).json()["sent"]
    observed = observe(database_url, notifications)
    observed["notification"] = of_new_leads(observed["notification"])
    assignments = expected_assignments(database_url)
    attempted = expected_effects(sent.versions, assignments)
    return check_effects(attempted, acknowledged_effects(sent, attempted, assignments), observed)


def acknowledged_effects(sent: Sent, attempted: Ids, assignments: Sequence[str]) -> Ids:
    """Return the ids of what was answered with 2xx; of a record's ticket the name of any version."""
    records = {version.record_id for version in sent.acknowledged} | {"assignment"}
    tickets = [id_ for id_ in attempted["ticket"] if id_.split(" ")[0] in records]
    return {**expected_effects(sent.acknowledged, assignments), "ticket": tickets}


def expected_effects(versions: Sequence[LeadVersion], assignments: Sequence[str]) -> Ids:
    """Return the ids of the effects; none of notified updates, which depend on the order of versions."""
    newest = {version.record_id: version for version in versions}
    phones = {f"+84{version.phone[1:]}" for version in versions}
    return {
        "event": [f"{version.record_id}@{version.modified_on} processed" for version in versions],
        "customer": [f"{kind} {phone}" for kind in ("account", "contact") for phone in phones],
        "ticket": [*(f"{record} {version.name}" for record, version in newest.items()), *assignments],
        "notification": [f"{record} {NEW_LEAD}" for record in newest],
    }


def of_new_leads(ids: Iterable[str]) -> list[str]:
    """Leave the time of the version out: whichever was processed first created the ticket."""
    return [f"{id_.partition('@')[0]} {NEW_LEAD}" for id_ in ids if id_.endswith(f" {NEW_LEAD}")]
