"""The breaker: it opens after five failures in a minute, and probes once after half a minute."""

import asyncio

import pytest

from leads.adapters.breaker import FAILURES_TO_OPEN, RECOVERY_SECONDS, Breaker, BreakerOpen
from leads.domain.errors import PancakeKeyRejected, PancakeUnavailable
from tests.support.waiting import eventually_async


class Ticks:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds


class Service:
    """A remote service that raises `error` while it is set and waits for `gate`."""

    def __init__(self) -> None:
        self.error: BaseException | None = PancakeUnavailable()
        self.calls = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> str:
        self.calls += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return "answer"


@pytest.fixture
def clock() -> Ticks:
    return Ticks()


@pytest.fixture
def breaker(clock: Ticks) -> Breaker:
    return Breaker("pancake_rest:test", clock)


@pytest.fixture
async def service() -> Service:
    return Service()


async def fail(breaker: Breaker, service: Service, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(PancakeUnavailable):
            await breaker.call_async(service)


@pytest.mark.test_case("TC-013-003")
async def test_it_opens_at_the_fifth_failure_within_sixty_seconds(
    breaker: Breaker, service: Service, clock: Ticks
) -> None:
    for _ in range(4):
        await fail(breaker, service)
        clock.seconds += 15
    assert breaker.level == 0
    await fail(breaker, service)
    assert breaker.level == 2
    with pytest.raises(BreakerOpen) as caught:
        await breaker.call_async(service)
    assert service.calls == 5
    assert caught.value.retry_after_seconds == 30


async def test_five_failures_spread_over_five_minutes_leave_it_closed(
    breaker: Breaker, service: Service, clock: Ticks
) -> None:
    for _ in range(5):
        await fail(breaker, service)
        clock.seconds += 75
    assert breaker.level == 0


async def test_successes_in_between_do_not_hide_five_failures(breaker: Breaker, service: Service) -> None:
    for _ in range(4):
        await fail(breaker, service)
        service.error = None
        assert await breaker.call_async(service) == "answer"
        service.error = PancakeUnavailable()
    await fail(breaker, service)
    assert breaker.level == 2


@pytest.mark.test_case("TC-013-004")
async def test_it_is_half_open_after_thirty_seconds_and_closes_on_success(
    breaker: Breaker, service: Service, clock: Ticks
) -> None:
    await fail(breaker, service, 5)
    clock.seconds += 29.9
    assert breaker.level == 2
    clock.seconds += 0.1
    assert breaker.level == 1
    service.error = None
    assert await breaker.call_async(service) == "answer"
    assert breaker.level == 0
    service.error = PancakeUnavailable()
    await fail(breaker, service, 4)
    assert breaker.level == 0, "old failures were forgotten"


@pytest.mark.test_case("TC-013-005")
async def test_a_failed_probe_opens_it_for_another_thirty_seconds(
    breaker: Breaker, service: Service, clock: Ticks
) -> None:
    await fail(breaker, service, 5)
    clock.seconds += 30
    await fail(breaker, service)
    assert service.calls == 6
    assert breaker.level == 2
    clock.seconds += 30
    assert breaker.level == 1


async def test_only_one_of_twenty_callers_probes(breaker: Breaker, service: Service, clock: Ticks) -> None:
    await fail(breaker, service, 5)
    clock.seconds += 30
    service.error = None
    service.gate.clear()
    callers = [asyncio.create_task(breaker.call_async(service)) for _ in range(20)]
    await eventually_async(lambda: sum(task.done() for task in callers) == 19)
    service.gate.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert service.calls == 6
    assert results.count("answer") == 1
    assert sum(isinstance(result, BreakerOpen) for result in results) == 19


async def test_after_a_cancelled_probe_the_next_caller_probes(
    breaker: Breaker, service: Service, clock: Ticks
) -> None:
    await fail(breaker, service, 5)
    clock.seconds += 30
    service.gate.clear()
    probe = asyncio.create_task(breaker.call_async(service))
    await eventually_async(lambda: service.calls == 6)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert breaker.level == 1
    service.gate.set()
    service.error = None
    assert await breaker.call_async(service) == "answer"


async def test_a_call_started_before_it_opened_does_not_close_it(breaker: Breaker, service: Service) -> None:
    late = Service()
    late.gate.clear()
    late.error = None
    early = asyncio.create_task(breaker.call_async(late))
    await eventually_async(lambda: late.calls == 1)
    await fail(breaker, service, 5)
    late.gate.set()
    assert await early == "answer"
    assert breaker.level == 2


async def test_a_rejected_key_does_not_count_as_a_failure(
    breaker: Breaker, service: Service, clock: Ticks
) -> None:
    service.error = PancakeKeyRejected("Pancake answered 401.", status=401)
    for _ in range(10):
        with pytest.raises(PancakeKeyRejected):
            await breaker.call_async(service)
    assert breaker.level == 0
    service.error = PancakeUnavailable()
    await fail(breaker, service, 5)
    clock.seconds += 30
    service.error = PancakeKeyRejected("Pancake answered 401.", status=401)
    with pytest.raises(PancakeKeyRejected):
        await breaker.call_async(service)
    assert breaker.level == 0, "the service answers again"


async def test_it_says_since_when_it_is_not_closed_also_while_probes_fail(
    clock: Ticks, breaker: Breaker, service: Service
) -> None:
    assert breaker.open_since is None
    await fail(breaker, service, FAILURES_TO_OPEN)
    opened = clock.seconds
    for _ in range(3):
        clock.seconds += RECOVERY_SECONDS
        await fail(breaker, service)
        assert breaker.open_since == opened
    service.error = None
    clock.seconds += RECOVERY_SECONDS
    await breaker.call_async(service)
    assert (breaker.open_since, breaker.answered_at) == (None, clock.seconds)
