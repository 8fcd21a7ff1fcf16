"""Child processes and directories that never outlive this process, even when it is killed with SIGKILL.

A small shell beside us (the undertaker) holds the read end of a pipe. When we close it, or die, it stops
every process it was told of and removes every directory. It is not a supervisor: nothing is restarted.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_UNDERTAKER = r"""
trap '' INT TERM HUP
pids= dirs=
while read -r what subject signal; do
    case $what in
        run) pids="$pids $subject:$signal" ;;
        gone) kept=; for p in $pids; do [ "${p%:*}" = "$subject" ] || kept="$kept $p"; done; pids=$kept ;;
        dir) dirs="$dirs $subject" ;;
    esac
done
for p in $pids; do kill -s "${p#*:}" "${p%:*}" 2>/dev/null; done
left=100
while [ $left -gt 0 ]; do
    alive=
    for p in $pids; do
        if kill -0 "${p%:*}" 2>/dev/null; then  # a zombie whose parent died answers too
            case $(cat "/proc/${p%:*}/stat" 2>/dev/null) in *') Z '*) ;; *) alive=1 ;; esac
        fi
    done
    [ -n "$alive" ] || break
    sleep 0.05; left=$((left - 1))
done
for p in $pids; do kill -s KILL "${p%:*}" 2>/dev/null; done
for d in $dirs; do for _ in 1 2 3; do rm -rf "$d" && break; sleep 0.1; done; done
"""


@dataclass(frozen=True)
class Unprivileged:
    """Whom to run a server as when we are root; both None when we are not."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def choose(cls) -> Self:
        """The user `postgres` or `nobody` when we are root, else ourselves."""
        if os.geteuid() != 0:
            return cls()
        users = {entry.pw_name: entry for entry in pwd.getpwall()}
        entry = users.get("postgres") or users["nobody"]
        return cls(entry.pw_uid, entry.pw_gid)

    @property
    def groups(self) -> list[int] | None:
        """Supplementary groups to keep: none of root's."""
        return None if self.uid is None else []


class Processes:
    """Context manager: what is started or made through it is gone when the block, or this process, ends."""

    def __init__(self) -> None:
        self._undertaker = subprocess.Popen(
            ["/bin/sh", "-c", _UNDERTAKER], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True, cwd="/",
        )  # fmt: skip
        self._running: dict[int, tuple[subprocess.Popen[str], signal.Signals]] = {}
        self._directories: list[Path] = []

    def directory(self, prefix: str, owner: Unprivileged | None = None) -> Path:
        """A new directory of mode 0700 under the system's temporary directory, owned by `owner`."""
        path = Path(tempfile.mkdtemp(prefix=prefix))
        self._tell(f"dir {path}")
        self._directories.append(path)
        if owner is not None and owner.uid is not None and owner.gid is not None:
            os.chown(path, owner.uid, owner.gid)
        return path

    def start(
        self, arguments: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None,
        stdout: IO[str] | int | None = None, stderr: IO[str] | int | None = None,
        owner: Unprivileged | None = None, stop_signal: signal.Signals = signal.SIGTERM,
    ) -> subprocess.Popen[str]:  # fmt: skip
        """Start a child in a session of its own (out of reach of Ctrl-C); `stop_signal` ends it politely."""
        owner = owner or Unprivileged()
        process = subprocess.Popen(
            list(arguments), env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
            text=True, start_new_session=True, user=owner.uid, group=owner.gid, extra_groups=owner.groups,
        )  # fmt: skip
        self._running[process.pid] = (process, stop_signal)
        self._tell(f"run {process.pid} {stop_signal.name.removeprefix('SIG')}")
        return process

    def stop(
        self, process: subprocess.Popen[str], how: signal.Signals | None = None, wait: float = 10
    ) -> int:
        """Stop one child (SIGKILL after `wait` seconds) and return its exit code."""
        _, polite = self._running[process.pid]
        if process.poll() is None:
            process.send_signal(how or polite)
        try:
            code = process.wait(wait)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        del self._running[process.pid]
        self._tell(f"gone {process.pid}")
        return code

    def close(self) -> None:
        """Tell everything to stop, newest first, wait for it, and remove the directories."""
        running = list(reversed(self._running.values()))
        for process, polite in running:
            if process.poll() is None:
                process.send_signal(polite)
        for process, _ in running:
            self.stop(process)
        for path in self._directories:
            shutil.rmtree(path, ignore_errors=True)
        if self._undertaker.stdin is not None:
            self._undertaker.stdin.close()
        self._undertaker.wait()

    def _tell(self, line: str) -> None:
        assert self._undertaker.stdin is not None
        self._undertaker.stdin.write(line.encode() + b"\n")
        self._undertaker.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
