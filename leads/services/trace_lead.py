"""Load what is stored of the leads that a person looks for."""

import json
from datetime import datetime

from leads.adapters.database import Statement
from leads.domain.digest import PHONE, Digester
from leads.domain.trace import Search


def load_events_statement(search: Search, digester: Digester | None, now: datetime) -> Statement:
    """Return the statement that finds leads; its rows are StoredEvent. `now` ends the wait for a response.

    Without a digester, a lead whose phone retention emptied is found by its phone only through a ticket.
    """
    digests = [
        digest for phone in search.phones for digest in (digester.digests(PHONE, phone) if digester else ())
    ]
    params = {
        "text": search.text,
        "event_id": search.event_id,
        "phones": list(search.phones),
        "phone_digests": digests,
        "now": now,
        "typed_bodies": [json.dumps(body) for body in search.typed_bodies()],
    }
    return "trace_lead/load_events", params
