"""Read the log as the process would write it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from leads.adapters.logs import JsonFormatter


class LineHandler(logging.Handler):
    """Keeps every formatted line."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def captured_logs() -> Iterator[list[str]]:
    """Collect every line, of all levels, that would be written to standard output."""
    handler, root = LineHandler(), logging.getLogger()
    handler.setFormatter(JsonFormatter())
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield handler.lines
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
