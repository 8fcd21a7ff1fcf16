"""CPU time and memory of the processes of the sandbox, read from /proc once a second."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from proofs.sender import repeating

INTERVAL_SECONDS = 1.0
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass
class Usage:
    """What a service used: a process and all its children, those that ended included."""

    cpu_seconds: float = 0.0
    peak_mb: float = 0.0
    samples: list[tuple[float, float, float]] = field(default_factory=list)
    """Time of the day in seconds since 1970, cores in use since the last sample, memory in MB."""


@contextmanager
def sampled(
    pids: Mapping[str, int], titles: Mapping[str, str] = MappingProxyType({})
) -> Iterator[dict[str, Usage]]:
    """Sample the usage of services, each given by its first process, within the block.

    `titles`: of these services only the processes count whose command line begins so.
    """
    sampler = _Sampler(pids, titles)
    with repeating(sampler.sample, INTERVAL_SECONDS):
        yield sampler.usage
    sampler.sample()


class _Sampler:
    def __init__(self, pids: Mapping[str, int], titles: Mapping[str, str]) -> None:
        self.usage = {name: Usage() for name in pids}
        self._pids, self._titles = pids, titles
        self._first = {name: self._cpu_seconds(name) for name in pids}
        self._last = dict(self._first)
        self._at = time.time()

    def sample(self) -> None:
        now = time.time()
        for name, pid in self._pids.items():
            usage, cpu = self.usage[name], self._cpu_seconds(name)
            memory = _memory_mb(pid, self._titles.get(name, ""))
            cores = (cpu - self._last[name]) / (now - self._at)
            usage.samples.append((round(now, 1), round(cores, 2), round(memory, 1)))
            usage.cpu_seconds = cpu - self._first[name]
            usage.peak_mb = max(usage.peak_mb, memory)
            self._last[name] = cpu
        self._at = now

    def _cpu_seconds(self, name: str) -> float:
        return cpu_seconds_of_tree(self._pids[name], self._titles.get(name, ""))


def _tree(pid: int) -> Iterator[int]:
    """Yield a process and all that it started."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:  # it has ended
        return
    for child in children.split():
        yield from _tree(int(child))


def _titled(pid: int, title: str) -> Iterator[int]:
    """Yield those of a tree whose command line begins with `title`."""
    for each in _tree(pid):
        try:
            if Path(f"/proc/{each}/cmdline").read_text().startswith(title):
                yield each
        except OSError:  # it has ended
            continue


def cpu_seconds_of_tree(pid: int, title: str = "") -> float:
    """Return the CPU time of a process, its running children, and those that ended and were waited for.

    Only of those whose command line begins with `title`: PostgreSQL's sessions name their user in it.
    """
    ticks = 0
    for each in _titled(pid, title):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended; its parent has its time
            continue
        # utime, stime, cutime and cstime: fields 14 to 17 of proc(5); the first two are cut off above.
        ticks += sum(int(field_) for field_ in fields[11:15])
    return ticks / TICKS_PER_SECOND


def _memory_mb(pid: int, title: str) -> float:
    """Return the memory of a process and its children, each page that they share counted once."""
    kilobytes = 0
    for each in _titled(pid, title):
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has ended, or belongs to another user
            continue
        kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kilobytes / 1024
