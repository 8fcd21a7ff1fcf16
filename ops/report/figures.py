"""The figures of a report, as the database counts them: the same functions as the key figures."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from ops.clients.db_session import QUERIES, DbSession, class_row
from ops.report.period import Period


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """A row of report/list_sources. `connection` is None for the sum of all sources.

    `unanswered` tickets count in the response times with their age at the end of the period.
    """

    connection: str | None
    source_id: str | None
    source: str | None
    leads: int
    tickets: int
    held: int
    no_phone: int
    missed_by_webhook: int
    unassigned: int
    changed: int
    unanswered: int
    response_p50_minutes: float | None
    response_p95_minutes: float | None
    response_p50_business_minutes: float | None
    response_p95_business_minutes: float | None


@dataclass(frozen=True, slots=True)
class OwnerFigures:
    """A row of report/list_owners: the tickets of a source that an owner was chosen for.

    `share`: of the source's tickets with an owner, None without one. `weight` is None for an owner who is no
    member any more. `spread` and `bound` are of the roster as it is now; None while no member is available.
    """

    connection: str
    source_id: str
    source: str | None
    owner: str | None
    tickets: int
    share: float | None
    changed: int
    weight: int | None
    spread: float | None
    bound: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a period: of all sources together, of each source, and of the owners of each."""

    period: Period
    total: SourceFigures
    sources: Sequence[SourceFigures]
    owners: Sequence[OwnerFigures]

    def owners_of(self, source: SourceFigures) -> list[OwnerFigures]:
        key = (source.connection, source.source_id)
        return [owner for owner in self.owners if (owner.connection, owner.source_id) == key]

    def document(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        days: dict[str, datetime | str] = {
            "from": self.period.first.isoformat(),
            "to": self.period.last.isoformat(),
            "until": self.period.until,
        }
        return {
            "period": days,
            "total": asdict(self.total),
            "sources": [asdict(source) for source in self.sources],
            "owners": [asdict(owner) for owner in self.owners],
        }


def load_report(db: DbSession, period: Period) -> Report:
    window = {"from": period.since, "to": period.until}
    sources = db.cursor(row_factory=class_row(SourceFigures))
    total, *of_sources = sources.execute(QUERIES["report/list_sources"], window).fetchall()
    owners = db.cursor(row_factory=class_row(OwnerFigures))
    return Report(period, total, of_sources, owners.execute(QUERIES["report/list_owners"], window).fetchall())
