"""What `leads status` finds where every part works."""

from datetime import UTC, datetime, timedelta

from leads.cli.probes.http_services import EdgeLook
from leads.cli.status.state import (
    ConnectionState,
    LastRuns,
    Roster,
    State,
    Tickets,
    UnsentCount,
)
from leads.services.cron_runs import CRONS
from leads.services.switches import Switch
from leads.services.unassigned_count import UnassignedTickets

NOW = datetime(2026, 5, 14, 9, 31, 7, tzinfo=UTC)
CONNECTION = ConnectionState("c1", "Diva", "active", NOW, NOW, NOW - timedelta(seconds=40), 3)
OFF = Switch(
    kind="kill",
    row_id="all",
    name=None,
    pancake_source_id=None,
    connection=None,
    is_on=False,
    can_be_on=True,
    changed_at=None,
    changed_by=None,
    person=None,
    application=None,
    reason=None,
)
STATE = State(
    now=NOW,
    tickets=Tickets(12, 10, 14.0),
    switches=[OFF],
    connections=[CONNECTION],
    queue=[],
    crons=[LastRuns(name, NOW, "succeeded", None, NOW, NOW, NOW) for name in CRONS],
    rosters=[Roster(None, 5, 4)],
    unassigned=UnassignedTickets(0, None),
    unsent=UnsentCount(0, None, 0),
)
EDGE = EdgeLook(0, 0, True, 1, 5.0, (), 0.001)
