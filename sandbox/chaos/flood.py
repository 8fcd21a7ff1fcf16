"""Somebody who posts at a constant rate from one address over many connections, and counts the answers."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from sandbox.bench.load import request_for


@dataclass
class Flood:
    """What came of it: answers by `code status`, and when each delivery left (seconds of one clock)."""

    answers: Counter[str] = field(default_factory=Counter)
    departures: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Deliveries per second from the first departure to the last."""
        lasted = max(self.departures) - min(self.departures)
        return (len(self.departures) - 1) / lasted


async def flood(
    url: str, token: Callable[[int], str], body: Callable[[int], bytes], *,
    rate: float, seconds: float, address: str, connections: int,
) -> Flood:  # fmt: skip
    """A delivery leaves when it is due and a connection is free."""
    result = Flood()
    numbers = iter(range(int(rate * seconds)))
    host, port = url.removeprefix("http://").split(":")
    started = time.perf_counter() + 0.2

    async def work() -> None:
        reader, writer = await asyncio.open_connection(host, int(port), local_addr=(address, 0))
        try:
            for number in numbers:
                await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
                path = f"{url}/api/pancake/record/{token(number)}"
                writer.write(request_for(path, {}, body(number)))
                result.departures.append(time.perf_counter())
                result.answers[await _answer(reader)] += 1
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            result.answers[type(error).__name__] += 1
        finally:
            writer.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    return result


async def _answer(reader: asyncio.StreamReader) -> str:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.split("content-length:")[1].split("\r\n")[0])
    document = json.loads(await reader.readexactly(length))
    return f"{head[9:12]} {document['status']}"
