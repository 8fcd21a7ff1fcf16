"""Every test lead of a drill by its id: processed once, lost, unacknowledged, doubled or unfinished."""

import time
from dataclasses import dataclass

from ops.clients.db_session import QUERIES
from ops.golive.deploy.site import Site
from ops.golive.drill.sender import Sent

POLL_SECONDS = 1.0
NAMED = 50
"""Ids that the result names of each kind."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ids by what is wrong with them.

    Neither `lost` nor `unacknowledged` ones are stored: the edge accepted the lost ones, the others got no
    answer or an error. `unexpected` ones were stored and never sent.
    """

    processed: int
    lost: list[str]
    unacknowledged: list[str]
    doubled: list[str]
    unfinished: list[str]
    unexpected: list[str]

    @property
    def is_fine(self) -> bool:
        return not (self.unexpected or self.doubled or self.is_waiting)

    @property
    def is_waiting(self) -> bool:
        """Whether a lead is not stored or not finished, which time can mend."""
        return bool(self.lost or self.unacknowledged or self.unfinished)


def count_records(site: Site, prefix: str, sent: Sent) -> Ledger:
    """Compare what was sent with what is stored, with or without an answer."""
    rows = site.db.execute(QUERIES["golive/list_drill_records"], {"prefix": prefix}).fetchall()
    stored = {row["record_id"]: row for row in rows}
    return Ledger(
        processed=sum(bool(row["is_processed"]) for row in rows),
        lost=sorted(sent.accepted - stored.keys()),
        unacknowledged=sorted(set(sent.ids) - sent.accepted - stored.keys()),
        doubled=sorted(name for name, row in stored.items() if row["events"] > 1 or row["tickets"] > 1),
        unfinished=sorted(
            name for name, row in stored.items() if not row["is_processed"] or row["tickets"] == 0
        ),
        unexpected=sorted(stored.keys() - set(sent.ids)),
    )


def wait_until_final(site: Site, prefix: str, sent: Sent, seconds: float) -> Ledger:
    """Count until every lead is stored and finished, or the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        ledger = count_records(site, prefix, sent)
        if not ledger.is_waiting or time.monotonic() > deadline:
            return ledger
        time.sleep(POLL_SECONDS)
