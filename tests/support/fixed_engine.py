"""A server that answers as an engine with metadata that never changes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.local_server import JsonHandler, serving


@contextmanager
def fixed_engine(metadata: dict[str, Any]) -> Iterator[str]:
    """Its URL, as long as the block lasts."""

    class Answer(JsonHandler):
        def do_GET(self) -> None:
            self.answer(200, json.dumps({"server_type": "ce", "version": "v2.50.6"}).encode())

        def do_POST(self) -> None:
            self.read_body()
            answer = {"resource_version": 1, "metadata": metadata, "inconsistent_objects": []}
            self.answer(200, json.dumps(answer).encode())

    with serving(Answer) as url:
        yield url
