"""The progress of a poll: what it counts, and that it continues from what it saved."""

import json
from datetime import UTC, datetime, timedelta

from leads.domain.listing import ListedLead
from leads.domain.poll import PollProgress
from leads.domain.table_record import TableRecord
from leads.domain.window import ZONE_MARGIN

NOW = datetime(2026, 5, 14, 2, 0, tzinfo=UTC)


def listed(record_id: str, modified_on: datetime | None) -> ListedLead:
    return ListedLead("lead", record_id, modified_on, {"id": record_id})


def test_an_interrupted_poll_goes_on_from_its_state() -> None:
    progress = PollProgress.start(NOW - timedelta(days=3), NOW)
    inside = progress.window.start + timedelta(hours=1)
    a, b = TableRecord("lead", "a"), TableRecord("lead", "b")
    progress.expect({a: inside, b: inside, TableRecord(None, "c"): inside})
    progress.enter([listed("a", inside), listed("c", None)], ["c"])
    progress.position.advance("next", 1, 0)
    progress.look_ups.present[b] = inside
    assert progress.latest is not None
    progress.latest.position.table = 1

    resumed = PollProgress.load(json.loads(json.dumps(progress.save())))
    assert resumed == progress
    assert (resumed.suspects(), resumed.listed, resumed.missed_ids) == ([b], 2, ["c"])


def test_a_contact_in_the_list_is_not_the_lead_of_its_id() -> None:
    progress = PollProgress.start(NOW - timedelta(minutes=5), NOW)
    inside = progress.window.start
    lead, unknown = TableRecord("lead", "a"), TableRecord(None, "a")
    progress.expect({lead: inside, unknown: inside})
    progress.enter([ListedLead("contact", "a", inside, {})], [])
    assert progress.suspects() == [lead]
    assert progress.report()["suspects"] == ["a"]


def test_only_leads_that_no_filter_would_return_count_as_outside() -> None:
    progress = PollProgress.start(NOW - timedelta(minutes=5), NOW)
    margin = 2 * ZONE_MARGIN
    leads = [listed("near", progress.window.start - margin), listed("far", progress.window.end + margin * 2)]
    assert progress.select(leads) == []
    progress.enter(leads, [])
    assert progress.outside == 1
