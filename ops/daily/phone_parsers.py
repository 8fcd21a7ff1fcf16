"""Parse phones in several processes, which end with this one even when it is killed.

They import this module only: the libraries of commands would make each of them start slower.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import NamedTuple, Self

from leads.domain.phone import normalize


class Account(NamedTuple):
    """An account with a phone; `id` as text."""

    id: str
    phone_code: str | None
    phone_number: str


Reading = tuple[str | None, str]
"""E.164 and an empty reason, or None and the reason why the phone is unusable."""

MAX_WAITING_BATCHES = 2
"""How many batches are read and parsed ahead of the one that is written."""

PARENT_CHECK_SECONDS = 0.5


def parse(accounts: Sequence[Account]) -> list[Reading]:
    return [normalize(account.phone_number, account.phone_code) for account in accounts]


class Parsers:
    """Context manager around the parser processes. With `processes=1` this process parses."""

    def __init__(self, processes: int) -> None:
        self._pool: ProcessPoolExecutor | None = None
        if processes > 1:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(processes, context, _prepare, (os.getpid(),))

    def parse_all(self, batches: Iterable[list[Account]]) -> Iterator[tuple[list[Account], list[Reading]]]:
        """Yield the batches in order, each with its readings."""
        waiting: deque[tuple[list[Account], Future[list[Reading]]]] = deque()
        for accounts in batches:
            if self._pool is None:
                yield accounts, parse(accounts)
                continue
            waiting.append((accounts, self._pool.submit(parse, accounts)))
            if len(waiting) > MAX_WAITING_BATCHES:
                first, readings = waiting.popleft()
                yield first, readings.result()
        for accounts, readings in waiting:
            yield accounts, readings.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=kind is None, cancel_futures=True)


def _prepare(parent: int) -> None:
    """Ignore Ctrl-C, which the parent handles, and exit when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()


def _exit_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    os._exit(1)
