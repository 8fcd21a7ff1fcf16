"""A delivery: the body of a record with how it reached us."""

from dataclasses import dataclass, replace
from datetime import datetime

from leads.domain.body import Body


@dataclass(frozen=True, slots=True)
class Delivery:
    """A body that came by a token (webhook) or for a connection (polling, reconciliation)."""

    body: Body
    arrived_at: datetime
    token_sha256: bytes | None = None
    connection_id: str | None = None
    source_ip: str | None = None

    def as_raw(self) -> "Delivery":
        """Return the same delivery with its body kept as bytes (`Body.as_raw`)."""
        return replace(self, body=self.body.as_raw())
