"""Every test lead of a drill by its id: processed once, lost, doubled or unfinished."""

import time
from dataclasses import dataclass

from leads.adapters.queries import QUERIES
from leads.cli.golive.deploy.site import Site
from leads.cli.golive.drill.sender import Sent

POLL_SECONDS = 1.0
NAMED = 50
"""Ids that the result names of each kind."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ids by what is wrong with them; `unexpected` were stored and never sent."""

    processed: int
    lost: list[str]
    doubled: list[str]
    unfinished: list[str]
    unexpected: list[str]

    @property
    def is_fine(self) -> bool:
        return not (self.lost or self.doubled or self.unfinished or self.unexpected)


def count_records(site: Site, prefix: str, sent: Sent) -> Ledger:
    """Compare what was sent with what is stored. A lead is lost if it was accepted and is not stored."""
    rows = site.db.execute(QUERIES["golive/list_drill_records"], {"prefix": prefix}).fetchall()
    stored = {row["record_id"]: row for row in rows}
    return Ledger(
        processed=sum(bool(row["is_processed"]) for row in rows),
        lost=sorted(sent.accepted - stored.keys()),
        doubled=sorted(name for name, row in stored.items() if row["events"] > 1 or row["tickets"] > 1),
        unfinished=sorted(
            name for name, row in stored.items() if not row["is_processed"] or row["tickets"] == 0
        ),
        unexpected=sorted(stored.keys() - set(sent.ids)),
    )


def wait_until_final(site: Site, prefix: str, sent: Sent, seconds: float) -> Ledger:
    """Count until nothing is lost or unfinished any more, or the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        ledger = count_records(site, prefix, sent)
        if not (ledger.lost or ledger.unfinished) or time.monotonic() > deadline:
            return ledger
        time.sleep(POLL_SECONDS)
