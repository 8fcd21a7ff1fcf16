"""Work that conflicts with a concurrent transaction is repeated a limited number of times."""

import pytest

from leads.domain.errors import Contended, InvalidPhone
from leads.services.contention import MAX_TRIES, retry_contended


class Work:
    """Raises the given errors, one per call, then returns the number of calls."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.calls


async def test_work_that_conflicts_is_repeated_until_it_succeeds() -> None:
    assert await retry_contended(Work(*[Contended()] * (MAX_TRIES - 1))) == MAX_TRIES


async def test_the_last_conflict_is_raised() -> None:
    work = Work(*[Contended()] * MAX_TRIES)
    with pytest.raises(Contended):
        await retry_contended(work)
    assert work.calls == MAX_TRIES


async def test_another_error_is_not_repeated() -> None:
    work = Work(InvalidPhone())
    with pytest.raises(InvalidPhone):
        await retry_contended(work)
    assert work.calls == 1
