"""The command line of `scripts/mutants`."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from proofs.mutants import sql_coverage
from proofs.mutants.coverage_of_tests import CoveringTests, branch_coverage, measure
from proofs.mutants.judge import is_current, judge_all
from proofs.mutants.lua_lines import FOLDER, unexecuted
from proofs.mutants.sample import (
    CAUGHT,
    NO_RESULT,
    NOT_RUN,
    QUOTAS,
    Mutant,
    read_sample,
    shares,
    write_sample,
)
from sandbox.processes import Processes, exit_on_sigterm

ROOT = Path(__file__).parents[2]
app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Put small faults into the Python of the product, one at a time, and see whether the tests notice. "
    "First `cover`, then `run`; `draw` fills the stored sample up after functions of it are gone.",
)


@app.command()
def cover(
    arguments: Annotated[list[str] | None, typer.Argument(help="Of pytest, after `--`.")] = None,
) -> None:
    """Run the tests under coverage, so that `run` knows which of them execute a line."""
    default = ["-m", "not full", "--numprocesses", "3", "--dist", "loadfile", "--no-loadscope-reorder"]
    raise typer.Exit(measure(ROOT, arguments or default))


@app.command()
def run(
    only: Annotated[str, typer.Option(help="Only mutants whose function has this text.")] = "",
    again: Annotated[bool, typer.Option("--again", help="Those with a verdict too.")] = False,
    workers: Annotated[int, typer.Option(min=1, max=8, help="How many at once.")] = 2,
    minutes: Annotated[float, typer.Option(min=1, help="Start no more after this time.")] = 90,
) -> None:
    """Judge the mutants without a verdict, and those of which function or tests changed. It may be stopped.

    Tests the committed tree. Exit codes: 0 each is caught or explained, 1 one is not or has no verdict,
    2 usage, or the product changed since `cover`.
    """
    exit_on_sigterm()
    try:
        covering = CoveringTests.read(ROOT)
    except LookupError as error:
        typer.echo(f"{error}. Run first: scripts/mutants cover", err=True)
        raise typer.Exit(2) from error
    sample = read_sample()
    chosen = [mutant for mutant in sample if only in mutant.function]
    waiting = [mutant for mutant in chosen if again or not is_current(mutant, ROOT, covering)]
    for mutant in waiting:
        mutant.verdict = ""
    with Processes() as processes:
        judged = judge_all(waiting, covering, processes, workers, 60 * minutes)
        for number, mutant in enumerate(judged, 1):
            write_sample(sample)
            typer.echo(f"{number} of {len(waiting)} {mutant.verdict}: {mutant.function}", err=True)
    raise typer.Exit(0 if print_report(chosen, Console()) else 1)


@app.command()
def lua() -> None:
    """Run the tests of the edge, and print the lines of its Lua that none of them executed."""
    with Processes() as processes:
        folder = processes.directory("lua-lines-")
        environment = {**os.environ, FOLDER: str(folder)}
        command = [sys.executable, "-m", "pytest", "-n0", "-q", "tests/edge"]
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        for line in unexecuted(folder):
            typer.echo(line)
    raise typer.Exit(code)


@app.command()
def uncovered() -> None:
    """Print the coverage of the last `cover` by part, and the SQL that no test executed."""
    for part in QUOTAS:
        path = ROOT.joinpath(*part.split("."))
        share = branch_coverage(ROOT, f"{path}/*" if path.is_dir() else f"{path}.py")
        typer.echo(f"{part}: {share:.1f} % of lines and branches")
    for name in sql_coverage.unexecuted(ROOT):
        typer.echo(f"not executed: {name}")


@app.command()
def report(
    modules: Annotated[bool, typer.Option("--modules", help="By module instead of part.")] = False,
    before: Annotated[Path | None, typer.Option(exists=True, help="An earlier sample.yaml.")] = None,
) -> None:
    """Print the share caught by part, and the survivors without a reason.

    Exit codes: 0 each is caught or explained, 1 one is not or has no verdict, or a share was larger.
    """
    earlier = read_sample(before) if before else None
    is_good = print_report(read_sample(), Console(), before=earlier, by_module=modules)
    raise typer.Exit(0 if is_good else 1)


COLUMNS = ("caught", "timed out", "survived", "not covered", "gone", NO_RESULT, "equivalent", NOT_RUN)


def print_report(
    sample: list[Mutant], console: Console, *, before: list[Mutant] | None = None, by_module: bool = False
) -> bool:
    """Print the shares and the survivors without a reason; with `before` what changed since.

    Returns whether each mutant has a verdict and is caught or explained, and no share is less.
    """
    name = Column("module" if by_module else "part", no_wrap=True)
    table = Table(name, *COLUMNS, "share", box=None, padding=(0, 1, 0, 0))
    for part, counts in shares(sample, by_module=by_module).items():
        table.add_row(part, *(str(counts[column]) for column in COLUMNS), _percent(_share(counts)))
    console.print(table)
    unexplained = [each for each in sample if _survives(each) and not each.known]
    for mutant in unexplained:
        some = " (tests that take longer were not run)" if mutant.partly else ""
        _print_mutant(f"{mutant.verdict}{some}", mutant, console)
    is_less = before is not None and _print_changes(before, sample, console, by_module=by_module)
    return not (unexplained or is_less or any(not each.verdict for each in sample))


def _print_changes(before: list[Mutant], now: list[Mutant], console: Console, *, by_module: bool) -> bool:
    """Print the shares before and now, and the new survivors; return whether a share is less."""
    survived = {each.key for each in before if _survives(each)}
    for mutant in now:
        if _survives(mutant) and mutant.key not in survived:
            _print_mutant(f"new: {mutant.verdict}", mutant, console)
    earlier, is_less = shares(before, by_module=by_module), False
    for name, counts in shares(now, by_module=by_module).items():
        was, share = _share(earlier.get(name, Counter())), _share(counts)
        console.print(f"{name}: before {_percent(was)}, now {_percent(share)}", highlight=False)
        is_less |= was is not None and share is not None and share < was
    return is_less


def _survives(mutant: Mutant) -> bool:
    return mutant.verdict not in ("", CAUGHT) and not mutant.equivalent


def _share(counts: Counter[str]) -> float | None:
    judged = counts.total() - counts["equivalent"] - counts[NOT_RUN]
    return counts[CAUGHT] / judged if judged else None


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _print_mutant(verdict: str, mutant: Mutant, console: Console) -> None:
    text = f"{verdict}: {mutant.function}\n    {mutant.line}\n  → {mutant.becomes}"
    console.print(text, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    app(prog_name="scripts/mutants")
