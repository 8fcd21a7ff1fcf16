"""`scripts/chaos drill`: a go-live in a new sandbox, then `leads golive drill` for each tier."""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from ops.settings import installed_commit
from proofs.sender import versions
from sandbox.edge import require_edge_packages
from sandbox.postgres.server import Cluster
from sandbox.processes import exit_on_sigterm
from sandbox.stack.bare import BareSandbox

TIERS = ("tier1", "pause", "tier2", "tier3", "tier4")
MAX_SECONDS = 3600


def drill(
    tiers: Annotated[
        list[str] | None, typer.Argument(help="tier1, pause, tier2, tier3, tier4; without any all.")
    ] = None,
    rate: Annotated[float, typer.Option(help="Test leads a second.", min=1)] = 20,
    warm_up: Annotated[float, typer.Option(help="Seconds of traffic before, and after.", min=1)] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """Go live in a new sandbox, then rehearse the tiers of the rollback under traffic, and time them.

    No test lead may be lost or doubled; tier 1 and the pause may take 5 minutes,
    tiers 2 and 4 15, tier 3 30.
    """
    require_edge_packages()
    exit_on_sigterm()
    results = []
    with (
        TemporaryDirectory() as folder,
        Cluster(durable=True) as cluster,
        BareSandbox(cluster, Path(folder)) as sandbox,
    ):
        go_live(sandbox)
        for tier in tiers or TIERS:
            results.append(_run_drill(sandbox, tier, rate, warm_up))
    if as_json:
        typer.echo(json.dumps(results))
    else:
        Console().print(results)
    if not all(result["ok"] for result in results):
        raise typer.Exit(1)


def go_live(sandbox: BareSandbox) -> None:
    """Deploy until the first lead has a ticket; what people do is done here. Raises CalledProcessError."""
    _leads(sandbox, "deploy", "--anytime", "--confirm", "12", "--confirm", "14", codes=(1,))
    lines = (sandbox.folder / "webhook-url.txt").read_text().splitlines()
    name, _, value = lines[1].partition(": ")
    first = next(versions(0))
    httpx.post(lines[0], content=first.body, headers={name: value}, timeout=30).raise_for_status()
    _leads(sandbox, "deploy", "--anytime")


def _run_drill(sandbox: BareSandbox, tier: str, rate: float, warm_up: float) -> dict[str, Any]:
    words = ["--database", sandbox.database, "--rate", f"{rate:g}", "--warm-up", f"{warm_up:g}", "--json"]
    result: dict[str, Any] = json.loads(_leads(sandbox, "drill", tier, *words, codes=(0, 1)))
    return result


def _leads(sandbox: BareSandbox, *words: str, codes: tuple[int, ...] = (0,)) -> str:
    """Run `leads golive`; its messages go to stderr of this program."""
    command = [sys.executable, "-m", "ops", "golive", *words]
    environment = {**os.environ, **sandbox.leads_environment(), "COMMIT": installed_commit()}
    run = subprocess.run(
        command, cwd=sandbox.folder, env=environment, stdout=subprocess.PIPE, text=True, timeout=MAX_SECONDS,
        check=False,
    )  # fmt: skip
    if run.returncode not in codes:
        raise subprocess.CalledProcessError(run.returncode, command, run.stdout)
    return run.stdout
