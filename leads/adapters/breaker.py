"""A circuit breaker that opens at the nth failure within a window of time.

The library counts consecutive failures, reads the machine's clock and lets every caller through while
half-open; this subclass keeps its states and its interface and changes those three things.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from circuitbreaker import STATE_CLOSED, STATE_HALF_OPEN, STATE_OPEN, CircuitBreaker

from leads.adapters.clock import Clock
from leads.domain.errors import PancakeBusy, PancakeUnavailable

FAILURES_TO_OPEN = 5
WINDOW_SECONDS = 60.0
RECOVERY_SECONDS = 30.0
LEVEL = {STATE_CLOSED: 0, STATE_HALF_OPEN: 1, STATE_OPEN: 2}
"""The values of the gauge `pancake_circuit_breaker_state`."""

Answer = TypeVar("Answer")


class BreakerOpen(PancakeUnavailable):
    """Pancake failed repeatedly; no calls are made until a probe succeeds."""

    code = "breaker_open"


class Breaker(CircuitBreaker):  # type: ignore[misc]  # the library has no types
    """Closed → open at the 5th failure in 60 s → half-open after 30 s, one probe → closed or open again."""

    def __init__(self, name: str, clock: Clock) -> None:
        super().__init__(FAILURES_TO_OPEN, RECOVERY_SECONDS, PancakeUnavailable, name)
        self._clock = clock
        self._failures: deque[float] = deque(maxlen=FAILURES_TO_OPEN)
        self._probing = False
        self.open_since: float | None = None
        """When it opened, in seconds of the clock; kept while probes fail, None while it is closed."""
        self.answered_at: float | None = None
        """When a call was last answered, also by a refusal."""

    @property
    def level(self) -> int:
        return LEVEL[self.state]

    @property
    def open_remaining(self) -> float:
        """Seconds until the next probe is allowed, from which the library makes `state`."""
        return float(self._opened + RECOVERY_SECONDS - self._clock.monotonic())

    async def call_async(
        self, func: Callable[..., Awaitable[Answer]], *args: object, **kwargs: object
    ) -> Answer:
        """Call `func`, or raise BreakerOpen at once."""
        state = self.state
        if state == STATE_OPEN or (state == STATE_HALF_OPEN and self._probing):
            raise BreakerOpen("Calls to Pancake are suspended after repeated failures.")
        probe = state == STATE_HALF_OPEN
        self._probing = self._probing or probe
        try:
            answer = await func(*args, **kwargs)
        except BaseException as error:
            self._settle(error, probe)
            raise
        self._settle(None, probe)
        return answer

    def reset(self) -> None:
        """Close, and forget every failure."""
        super().reset()
        self._failures.clear()
        self.open_since = None

    def _settle(self, error: BaseException | None, probe: bool) -> None:
        """Count the result of a call. A cancelled call does not count, nor does one begun before opening."""
        if probe:
            self._probing = False
        failed = isinstance(error, PancakeUnavailable) and not isinstance(error, PancakeBusy)
        answered = error is None or (isinstance(error, Exception) and not failed)
        if answered:
            self.answered_at = self._clock.monotonic()
        if failed and (probe or self._state == STATE_CLOSED):
            self._failed(probe)
        elif probe and answered:
            self.reset()

    def _failed(self, probe: bool) -> None:
        now = self._clock.monotonic()
        self._failures.append(now)
        enough = len(self._failures) == FAILURES_TO_OPEN and now - self._failures[0] <= WINDOW_SECONDS
        if enough or probe:
            self._state, self._opened = STATE_OPEN, now
            self.open_since = now if self.open_since is None else self.open_since


class Breakers:
    """The breakers by host."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._breakers: dict[str, Breaker] = {}

    def __getitem__(self, host: str) -> Breaker:
        if host not in self._breakers:
            self._breakers[host] = Breaker(host, self._clock)
        return self._breakers[host]

    def level(self) -> int:
        """Return the worst level: 0 closed, 1 half-open, 2 open."""
        return max((breaker.level for breaker in self._breakers.values()), default=0)

    def times(self) -> Iterator[tuple[str, float, float]]:
        """Yield host, opening and last answer of each, in seconds since 1970; 0 for neither."""
        now, monotonic = self._clock.now().timestamp(), self._clock.monotonic()
        for host, breaker in self._breakers.items():
            opened, answered = (
                0.0 if at is None else now - (monotonic - at)
                for at in (breaker.open_since, breaker.answered_at)
            )
            yield host, opened, answered
