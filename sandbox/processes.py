"""Child processes and directories that never outlive this process, even if SIGKILL ends it.

A shell process (the reaper) reads the names of processes and directories from a pipe. When the pipe closes,
because this process closed it or ended, the reaper stops the processes and removes the directories.
It restarts nothing. Logs and secrets are handed over to the test run that started it.
"""

import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn, Self

import httpx

from ops.files import write_file
from ops.waiting import poll

ROOT = Path(__file__).parents[1]
READY_POLL_SECONDS = 0.03
READY_TIMEOUT_SECONDS = 30.0
FOLDER = "SANDBOX_HANDOVER"
"""The environment variable that names a folder; without it, or if there is none, nothing is handed over."""
LOGS = ("*.log", "log", "access.json")
SECRETS = "secrets-*.json"


def hand_over_logs(directory: Path) -> None:
    """Move the logs of a directory that is about to be removed, into a folder of the same name."""
    if (folder := _folder()) is None:
        return
    found = {path for pattern in LOGS for path in directory.glob(f"**/{pattern}")}
    for path in sorted(path for path in found if path.is_file()):
        kept = folder / directory.name / path.relative_to(directory)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, kept)


def hand_over_secrets(values: Mapping[str, str]) -> None:
    """Write new secrets by name, so that they can be searched for."""
    if (folder := _folder()) is None:
        return
    name = SECRETS.replace("*", secrets.token_hex(8))
    write_file(folder / name, json.dumps(dict(values)))


def _folder() -> Path | None:
    name = os.environ.get(FOLDER)
    return Path(name) if name and Path(name).is_dir() else None


_REAPER = Path(__file__).with_name("reaper.sh").read_text("utf-8")


@dataclass(frozen=True)
class Unprivileged:
    """The user to run a server as if this process is root; both are None if it is not."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def choose(cls) -> Self:
        """Return the user `postgres` or `nobody` if this process is root, else no user."""
        if os.geteuid() != 0:
            return cls()
        users = {entry.pw_name: entry for entry in pwd.getpwall()}
        entry = users.get("postgres") or users["nobody"]
        return cls(entry.pw_uid, entry.pw_gid)

    @property
    def groups(self) -> list[int] | None:
        """Supplementary groups for a child: none of root's."""
        return None if self.uid is None else []


class Processes:
    """Context manager: ends its processes and removes its directories at the end of the block or process.

    At the end of the block the logs in its directories are handed over (`sandbox.processes`).
    """

    def __init__(self) -> None:
        self._reaper = subprocess.Popen(
            ["/bin/sh", "-c", _REAPER], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True, cwd="/",
        )  # fmt: skip
        self._running: dict[int, tuple[subprocess.Popen[str], signal.Signals]] = {}
        self._directories: list[Path] = []

    def directory(self, prefix: str, owner: Unprivileged | None = None, parent: Path | None = None) -> Path:
        """Create a directory of mode 0700, owned by `owner`; by default in the system's temporary one."""
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        self._notify_reaper(f"dir {path}")
        self._directories.append(path)
        if owner is not None and owner.uid is not None and owner.gid is not None:
            os.chown(path, owner.uid, owner.gid)
        return path

    def start(
        self, arguments: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None,
        stdout: IO[str] | int | None = None, stderr: IO[str] | int | None = None,
        owner: Unprivileged | None = None, stop_signal: signal.Signals = signal.SIGTERM,
    ) -> subprocess.Popen[str]:  # fmt: skip
        """Start a child in its own session, so that Ctrl-C does not reach it.

        `stop_signal` is the signal for a graceful stop.
        """
        owner = owner or Unprivileged()
        process = subprocess.Popen(
            list(arguments), env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
            text=True, start_new_session=True, user=owner.uid, group=owner.gid, extra_groups=owner.groups,
        )  # fmt: skip
        self._running[process.pid] = (process, stop_signal)
        self._notify_reaper(
            f"run {process.pid} {stop_signal.name.removeprefix('SIG')} {_start_time(process.pid)}"
        )
        return process

    def stop(
        self,
        process: subprocess.Popen[str],
        signal_: signal.Signals | None = None,
        timeout_seconds: float = 10,
    ) -> int:
        """Stop one child, with SIGKILL after `timeout_seconds`, and return its exit code."""
        _, stop_signal = self._running[process.pid]
        if process.poll() is None:
            process.send_signal(signal_ or stop_signal)
        try:
            code = process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        del self._running[process.pid]
        self._notify_reaper(f"gone {process.pid}")
        return code

    def close(self) -> None:
        """Stop all processes, the newest first, and remove the directories."""
        running = list(reversed(self._running.values()))
        for process, stop_signal in running:
            if process.poll() is None:
                process.send_signal(stop_signal)
        for process, _ in running:
            self.stop(process)
        try:
            for path in self._directories:
                hand_over_logs(path)
        finally:
            for path in self._directories:
                shutil.rmtree(path, ignore_errors=True)
            if self._reaper.stdin is not None:
                self._reaper.stdin.close()
            self._reaper.wait()

    def _notify_reaper(self, line: str) -> None:
        assert self._reaper.stdin is not None
        self._reaper.stdin.write(line.encode() + b"\n")
        self._reaper.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _start_time(pid: int) -> str:
    """When a child that was not waited for started, in clock ticks since boot: field 22 of proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


class Started(ABC):
    """Context manager around `start` and `close`; what could not start is closed too."""

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        with ExitStack() as on_failure:
            on_failure.callback(self.close)
            self.start()
            on_failure.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class NotReady(Exception):
    """A service ended or did not become ready in time; the message holds the end of its log."""


@dataclass
class Service:
    """A server process. It is ready when `url` + `ready_path` answers 200."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    url: str
    ready_path: str
    log: Path
    processes: Processes
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the process without waiting until it is ready; append its output to the log."""
        with self.log.open("a") as output:
            self.process = self.processes.start(
                self.arguments, env=self.environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
            )

    def wait_ready(self, timeout_seconds: float = READY_TIMEOUT_SECONDS) -> None:
        """Wait until it is ready. Raises NotReady if it ends or takes longer than `timeout_seconds`."""
        answer = ""
        with httpx.Client(timeout=5) as client:
            for _ in poll(timeout_seconds, READY_POLL_SECONDS):
                answer = self._probe(client)
                if answer == "200":
                    return
                if self.process is None or self.process.poll() is not None:
                    raise NotReady(f"{self.name} ended before it was ready:\n{self.tail()}")
        raise NotReady(f"{self.name} is not ready ({answer}) at {self.url}{self.ready_path}:\n{self.tail()}")

    def bring_up(self) -> Self:
        """Start it, and return when it is ready. Raises NotReady."""
        self.start()
        self.wait_ready()
        return self

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def tail(self, lines: int = 25) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) or "(its log is empty)"

    def _probe(self, client: httpx.Client) -> str:
        try:
            answer = client.get(self.url + self.ready_path)
        except httpx.HTTPError as error:
            return type(error).__name__
        return str(answer.status_code) if answer.status_code == 200 else f"{answer.status_code} {answer.text}"

    def _end(self, signal_: signal.Signals) -> None:
        if self.process is not None:
            self.processes.stop(self.process, signal_)
            self.process = None


def bring_up(*services: Service) -> None:
    """Start services at once, and return when all are ready. Raises NotReady."""
    for service in services:
        service.start()
    for service in services:
        service.wait_ready()


def exit_on_sigterm() -> None:
    """Make SIGTERM raise SystemExit, so that every context manager cleans up as after Ctrl-C.

    The exit code is 128 + the signal number, as a shell reports it. A process that a script starts in the
    background ignores Ctrl-C unless it sets a handler: that is set too.
    """

    def exit_process(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, exit_process)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_until_stopped() -> None:
    """Block until Ctrl-C. SIGTERM raises SystemExit if `exit_on_sigterm` was called."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return
