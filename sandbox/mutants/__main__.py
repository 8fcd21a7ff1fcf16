"""The command line of `scripts/mutants`."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sandbox.mutants.coverage_of_tests import branch_coverage, measure
from sandbox.mutants.judge import judge_all
from sandbox.mutants.lua_lines import FOLDER, unexecuted
from sandbox.mutants.sample import CAUGHT, QUOTAS, Mutant, read_sample, shares, write_sample
from sandbox.mutants.sql_coverage import unsent
from sandbox.processes import Processes
from sandbox.stack.signals import exit_on_sigterm

ROOT = Path(__file__).parents[2]
COLUMNS = ("caught", "timed out", "survived", "not covered", "gone", "equivalent", "not run")
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
    half: Annotated[bool, typer.Option("--half", help="Every second mutant of each part.")] = False,
    only: Annotated[str, typer.Option(help="Only mutants whose function has this text.")] = "",
    again: Annotated[bool, typer.Option("--again", help="Those with a verdict too.")] = False,
    workers: Annotated[int, typer.Option(min=1, max=8, help="How many at once.")] = 2,
    minutes: Annotated[float, typer.Option(min=1, help="Start no more after this time.")] = 90,
) -> None:
    """Judge the mutants without a verdict, and those whose function changed. It may be stopped at any time.

    Tests the committed tree. Exit codes: 0 each is caught or explained, 1 a survivor is not, 2 usage.
    """
    exit_on_sigterm()
    sample = read_sample()
    chosen = [mutant for mutant in (every_second(sample) if half else sample) if only in mutant.function]
    waiting = [mutant for mutant in chosen if again or not is_current(mutant)]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Processes() as processes, Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("mutants", total=len(waiting))

        def done(mutant: Mutant) -> None:
            write_sample(sample)
            progress.advance(task)
            progress.console.print(f"{mutant.verdict}: {mutant.function}", markup=False, highlight=False)

        try:
            judge_all(waiting, ROOT, processes, workers, 60 * minutes, done)
        except FileNotFoundError as error:
            progress.console.print(f"{error}. Run first: scripts/mutants cover", markup=False)
            raise typer.Exit(2) from error
    report()


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
def draw() -> None:
    """Draw mutants for the sample, with cosmic-ray in an environment of its own."""
    raise typer.BadParameter("call scripts/mutants draw")


@app.command()
def uncovered() -> None:
    """Print the coverage of the last `cover` by part, and the SQL statements and functions without a test."""
    for part in QUOTAS:
        path = ROOT.joinpath(*part.split("."))
        share = branch_coverage(ROOT, f"{path}/*" if path.is_dir() else f"{path}.py")
        typer.echo(f"{part}: {share:.1f} % of lines and branches")
    for name in unsent(ROOT):
        typer.echo(f"not sent: {name}")


@app.command()
def report() -> None:
    """Print the share caught by part, and the survivors that nobody has explained."""
    sample = read_sample()
    table = Table("part", *COLUMNS, "share")
    for part, counts in shares(sample).items():
        judged = sum(counts.values()) - counts["equivalent"] - counts["not run"]
        share = f"{counts[CAUGHT] / judged:.0%}" if judged else "–"
        table.add_row(part, *(str(counts[name]) for name in COLUMNS), share)
    console = Console()
    console.print(table)
    unexplained = [
        each for each in sample if each.verdict not in ("", CAUGHT) and not (each.equivalent or each.known)
    ]
    for mutant in unexplained:
        console.print(
            f"{mutant.verdict}: {mutant.function}\n    {mutant.line}\n  → {mutant.becomes}", markup=False
        )
    raise typer.Exit(1 if unexplained else 0)


def every_second(sample: list[Mutant]) -> list[Mutant]:
    """Return every second mutant of each part."""
    parts = dict.fromkeys(mutant.part for mutant in sample)
    return [each for part in parts for each in [m for m in sample if m.part == part][::2]]


def is_current(mutant: Mutant) -> bool:
    """Whether the verdict holds: function and catching test are as they were. A survivor is tried again."""
    is_final = mutant.verdict == CAUGHT or mutant.equivalent
    return bool(is_final) and mutant.digest == mutant.digest_in(ROOT)


if __name__ == "__main__":
    app(prog_name="scripts/mutants")
