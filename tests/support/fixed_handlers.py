"""A server that answers every call of Hasura alike, in the place of the handlers."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.local_server import JsonHandler, serving

NOT_RECEIVED = b'{"event_id": 0, "result": "not_received"}'
"""What the handlers answer to a probe event."""


@contextmanager
def fixed_handlers(status: int = 200, body: bytes = NOT_RECEIVED) -> Iterator[str]:
    """Its URL, as long as the block lasts."""

    class Answer(JsonHandler):
        def do_POST(self) -> None:
            self.read_body()
            self.answer(status, body)

    with serving(Answer) as url:
        yield url
