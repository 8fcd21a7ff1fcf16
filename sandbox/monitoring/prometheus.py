"""Real servers of Prometheus and Alertmanager on loopback, as child processes."""

import os
import subprocess
from pathlib import Path
from shutil import which

import typer

from sandbox.postgres.server import free_port
from sandbox.processes import Processes
from sandbox.stack.services import Service

PROGRAMS = {
    "prometheus": "prometheus",
    "promtool": "promtool",
    "prometheus-alertmanager": "prometheus-alertmanager",
}
"""The programs, and the packages of Debian that have them."""
HOST = "127.0.0.1"


class MonitoringFailed(Exception):
    """A program of the monitoring refused its work; the message holds what it said."""


def missing_monitoring() -> list[str]:
    """Return the packages of Debian that are missing."""
    return [package for program, package in PROGRAMS.items() if which(program) is None]


def require_monitoring() -> None:
    """Check that the programs are here. Raises typer.Exit with code 2, and prints what to install."""
    if missing := missing_monitoring():
        packages = " ".join(missing)
        typer.echo(f"The monitoring is not installed. Run: apt-get install {packages}", err=True)
        raise typer.Exit(2)


def prometheus(
    processes: Processes, config: Path, data: Path, *options: str, port: int | None = None
) -> Service:
    """Return a Prometheus, by default on a free port; the caller starts and stops it."""
    port = port or free_port()
    arguments = [
        "prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}",
        f"--web.listen-address={HOST}:{port}", "--log.level=warn", *options,
    ]  # fmt: skip
    return _service("prometheus", processes, arguments, port, config.parent)


def alertmanager(processes: Processes, config: Path, data: Path) -> Service:
    """Return an Alertmanager on a free port, without a cluster; the caller starts and stops it."""
    port = free_port()
    arguments = [
        "prometheus-alertmanager", f"--config.file={config}", f"--storage.path={data}",
        f"--web.listen-address={HOST}:{port}", "--cluster.listen-address=", "--log.level=warn",
        "--enable-feature=receiver-name-in-metrics",
    ]  # fmt: skip
    return _service("alertmanager", processes, arguments, port, config.parent)


def run_promtool(*arguments: object, directory: Path | None = None) -> str:
    """Run promtool and return its output. Raises MonitoringFailed."""
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
    if done.returncode:
        raise MonitoringFailed(f"{' '.join(command)}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def _service(name: str, processes: Processes, arguments: list[str], port: int, folder: Path) -> Service:
    return Service(
        name=name,
        arguments=arguments,
        environment=dict(os.environ),
        url=f"http://{HOST}:{port}",
        ready_path="/-/ready",
        log=folder / f"{name}.log",
        processes=processes,
    )
