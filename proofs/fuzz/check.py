"""What must hold of a body of any bytes: it is read, as ingest and processing read it."""

from datetime import timedelta

from leads.domain.body import MAX_ID_CHARACTERS, MAX_OFFSET, read_body
from leads.domain.errors import InvalidBody
from leads.domain.lead import read_lead
from leads.domain.phone import read_phones

HASH_BYTES = 32


def check_body(raw: bytes) -> None:
    """Read a body. Raises each error that is a fault of the reader."""
    body = read_body(raw)
    assert len(body.payload_hash) == HASH_BYTES
    assert (body.payload is None) != (body.raw is None)
    for text in (body.payload, body.record_id, body.table_name, body.error_detail, *body.source_ids):
        assert text is None or "\0" not in text
        assert text is None or text.encode()
    assert len(body.record_id or "") <= MAX_ID_CHARACTERS
    if body.modified_on is not None and body.modified_on.tzinfo is not None:
        assert abs(body.modified_on.utcoffset() or timedelta()) <= MAX_OFFSET
    if body.payload is not None:
        again = read_body(body.payload.encode())
        assert (again.payload, again.record_id, again.source_ids) == (
            body.payload, body.record_id, body.source_ids,
        )  # fmt: skip
    if body.record is not None:
        try:
            lead = read_lead(body.record)
        except InvalidBody:
            return
        assert all(phone.startswith("+") for phone in read_phones(lead.phones).usable)
