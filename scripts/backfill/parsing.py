"""Parsing phones in several processes, which end when this one does, however it ends."""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from leads.domain.phone import normalize
from scripts.backfill.accounts import Account

Reading = tuple[str | None, str]
"""E.164 and an empty reason, or None and why the phone is unusable."""

Rest = TypeVar("Rest")
READ_AHEAD = 2


def parse(accounts: Sequence[Account]) -> list[Reading]:
    """The normal form of each account's phone."""
    return [normalize(account.phone_number, account.phone_code) for account in accounts]


class Parsers:
    """Context manager around `processes` parsers; with one, this process parses itself."""

    def __init__(self, processes: int) -> None:
        self._pool: ProcessPoolExecutor | None = None
        if processes > 1:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(processes, context, _prepare, (os.getpid(),))

    def parse_all(
        self, batches: Iterable[tuple[list[Account], Rest]]
    ) -> Iterator[tuple[list[Account], list[Reading], Rest]]:
        """The batches in order with their readings; a few are read and parsed ahead."""
        waiting: deque[tuple[list[Account], Rest, Future[list[Reading]]]] = deque()
        for accounts, rest in batches:
            if self._pool is None:
                yield accounts, parse(accounts), rest
                continue
            waiting.append((accounts, rest, self._pool.submit(parse, accounts)))
            if len(waiting) > READ_AHEAD:
                yield _finished(waiting.popleft())
        while waiting:
            yield _finished(waiting.popleft())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=kind is None, cancel_futures=True)


def _finished(
    item: tuple[list[Account], Rest, Future[list[Reading]]],
) -> tuple[list[Account], list[Reading], Rest]:
    accounts, rest, readings = item
    return accounts, readings.result(), rest


def _prepare(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end with it even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
