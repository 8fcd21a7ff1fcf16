"""`scripts/chaos mutations`: without any one guard, its proof fails. The guards are in mutations.yaml."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console

from proofs.bench.environment import AsJson
from proofs.mutants.places import find_place
from sandbox.processes import ROOT, Processes, exit_on_sigterm

TABLE = Path(__file__).parent / "mutations.yaml"
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "node_modules")
MAX_PROOF_SECONDS = 900
PROOFS: dict[str, Callable[[Iterable[str]], list[str]]] = {
    "pytest": lambda subjects: ["pytest", "-n0", "-q", "-x", "-p", "no:cacheprovider", *subjects],
    "crash_points": lambda subjects: [
        "proofs.chaos", "crash_points", *(word for text in subjects for word in ("--point", text)),
    ],
}  # fmt: skip
"""The kinds of proofs, each with the command for several."""
CAUGHT, MISSED, BROKEN = "caught", "not caught", "proof broken"


@dataclass(frozen=True)
class Mutation:
    """A guard, the text to replace at a place of the product, and the proof that must fail then."""

    guard: str
    place: str
    text: str
    replacement: str
    proof: str

    def apply(self, root: Path) -> None:
        """Remove the guard from a tree. Raises LookupError unless the place exists and has the text once."""
        find_place(root, self.place).replace(self.text, self.replacement)


@dataclass(frozen=True)
class Verdict:
    """Whether the proof failed without the guard. `output` is the end of the proof's output."""

    guard: str
    proof: str
    result: str
    seconds: float
    output: str = ""


def mutations(
    only: Annotated[
        list[str] | None, typer.Option(help="Only guards whose name has this text; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove one guard at a time from a copy of the tree, and run its proof, which must fail.

    The proofs must pass on the unchanged copy first. Exit codes: 0 every guard is caught, 1 a guard is not
    caught, 2 a proof fails without a mutation or a text was not found.
    """
    exit_on_sigterm()
    chosen = [each for each in read_table() if not only or any(text in each.guard for text in only)]
    if not chosen:
        raise typer.BadParameter("no guard has this text in its name", param_hint="--only")
    console = Console(stderr=True)
    with Processes() as processes:
        verdicts = _run(chosen, processes.directory("mutations-"), console)
    if as_json:
        typer.echo(json.dumps([asdict(verdict) for verdict in verdicts], ensure_ascii=False))
    if any(verdict.result == BROKEN for verdict in verdicts):
        raise typer.Exit(2)
    if any(verdict.result == MISSED for verdict in verdicts):
        raise typer.Exit(1)


def read_table(path: Path = TABLE) -> list[Mutation]:
    """Read the mutations. Raises TypeError for an entry with other keys."""
    return [Mutation(**entry) for entry in yaml.safe_load(path.read_text())]


def _run(chosen: Sequence[Mutation], home: Path, console: Console) -> list[Verdict]:
    original = home / "original"
    shutil.copytree(ROOT, original, ignore=LEFT_OUT)
    broken = _check_unchanged(chosen, original)
    verdicts = []
    for mutation in chosen:
        kind = mutation.proof.partition(" ")[0]
        if kind in broken:
            verdict = Verdict(mutation.guard, mutation.proof, BROKEN, 0.0, broken[kind])
        else:
            verdict = _judge(mutation, original, home / "mutated")
        verdicts.append(verdict)
        console.print(f"{verdict.result}: {verdict.guard} ({verdict.seconds:.0f} s)", markup=False)
        if verdict.result != CAUGHT:
            console.print(verdict.output, markup=False, highlight=False)
    return verdicts


def _check_unchanged(chosen: Sequence[Mutation], original: Path) -> dict[str, str]:
    """Run all proofs of a kind together on the unchanged copy; return the output of a kind that fails."""
    broken = {}
    for kind in PROOFS:
        subjects = [each.proof.partition(" ")[2] for each in chosen if each.proof.startswith(f"{kind} ")]
        if subjects:
            code, output = run_proof(kind, subjects, original)
            if code != 0:
                broken[kind] = output
    return broken


def _judge(mutation: Mutation, original: Path, mutated: Path) -> Verdict:
    started = time.monotonic()
    shutil.copytree(original, mutated)
    try:
        mutation.apply(mutated)
        kind, _, subject = mutation.proof.partition(" ")
        code, output = run_proof(kind, [subject], mutated)
    finally:
        shutil.rmtree(mutated)
    result = {0: MISSED, 1: CAUGHT}.get(code, BROKEN)
    seconds = round(time.monotonic() - started, 1)
    return Verdict(mutation.guard, mutation.proof, result, seconds, output)


def run_proof(kind: str, subjects: Sequence[str], root: Path) -> tuple[int, str]:
    """Run proofs of one kind in a tree; return the exit code, and the end of the output."""
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("DATABASE_URL", None)
    try:
        run = subprocess.run(
            [sys.executable, "-m", *PROOFS[kind](dict.fromkeys(subjects))], cwd=root, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            timeout=MAX_PROOF_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        return 124, f"{error}"
    return run.returncode, run.stdout[-2000:]
