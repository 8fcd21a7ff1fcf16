"""Repeat work that lost against a concurrent transaction."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from leads.domain.errors import Contended

MAX_TRIES = 3
"""The first try and two repetitions; after that the caller gets Contended."""

Result = TypeVar("Result")


async def retry_contended(work: Callable[[], Awaitable[Result]]) -> Result:
    """Do the work, and repeat it at once while it raises Contended: MAX_TRIES times in all."""
    for _ in range(MAX_TRIES - 1):
        try:
            return await work()
        except Contended:
            continue
    return await work()
