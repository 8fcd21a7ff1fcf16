"""Post deliveries at a constant rate from one address over many connections, and count the answers."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from proofs.bench.load import Client, request_for

KEPT = ("200 received", "200 spooled")


@dataclass
class Flood:
    """The result: answers by `code status`, and when each delivery was sent (time.perf_counter)."""

    answers: Counter[str] = field(default_factory=Counter)
    sent_at: list[float] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    """The bodies, as text; `kept` those that were answered as received or spooled."""
    kept: list[str] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Deliveries per second between the first and the last."""
        elapsed_seconds = max(self.sent_at) - min(self.sent_at)
        return (len(self.sent_at) - 1) / elapsed_seconds


async def flood(
    url: str, token: Callable[[int], str], body: Callable[[int], bytes], *,
    rate_per_second: float, seconds: float, address: str, connections: int,
) -> Flood:  # fmt: skip
    """Send each delivery when it is due and a connection is free."""
    result = Flood()
    numbers = iter(range(int(rate_per_second * seconds)))
    host, port = url.removeprefix("http://").split(":")
    started = time.perf_counter() + 0.2  # time to open the connections

    async def work() -> None:
        client = Client(host, int(port), address)
        await client.open()
        try:
            for number in numbers:
                await asyncio.sleep(max(0.0, started + number / rate_per_second - time.perf_counter()))
                path = f"{url}/api/pancake/record/{token(number)}"
                text = body(number).decode()
                result.sent_at.append(time.perf_counter())
                result.sent.append(text)
                code, content = await client.send(request_for(path, {}, text.encode()))
                answer = f"{code} {json.loads(content)['status']}"
                result.answers[answer] += 1
                if answer in KEPT:
                    result.kept.append(text)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            result.answers[type(error).__name__] += 1
        finally:
            client.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    return result
