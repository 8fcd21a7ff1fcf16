"""What is printed of a sample: shares by part or module, survivors, and what changed since another sample."""

from collections import Counter

from rich.console import Console
from rich.table import Table

from proofs.mutants.sample import CAUGHT, NOT_RUN, Mutant, shares

COLUMNS = ("caught", "timed out", "survived", "not covered", "gone", "equivalent", NOT_RUN)


def print_report(
    sample: list[Mutant], console: Console, *, before: list[Mutant] | None = None, by_module: bool = False
) -> bool:
    """Print the shares and the survivors that nobody has explained; with `before` what changed since.

    Returns whether each mutant has a verdict and is caught or explained, and no part's share is less.
    """
    table = Table("module" if by_module else "part", *COLUMNS, "share")
    for name, counts in shares(sample, by_module=by_module).items():
        table.add_row(name, *(str(counts[column]) for column in COLUMNS), _percent(_share(counts)))
    console.print(table)
    unexplained = [each for each in sample if _survives(each) and not each.known]
    for mutant in unexplained:
        _print_mutant(mutant.verdict, mutant, console)
    is_less = before is not None and _print_changes(before, sample, console)
    return not (unexplained or is_less or any(not each.verdict for each in sample))


def _print_changes(before: list[Mutant], now: list[Mutant], console: Console) -> bool:
    """Print the shares before and now, and the new survivors; return whether a share is less."""
    survived = {each.key for each in before if _survives(each)}
    for mutant in now:
        if _survives(mutant) and mutant.key not in survived:
            _print_mutant(f"new: {mutant.verdict}", mutant, console)
    earlier, is_less = shares(before), False
    for part, counts in shares(now).items():
        was, share = _share(earlier.get(part, Counter())), _share(counts)
        console.print(f"{part}: before {_percent(was)}, now {_percent(share)}", highlight=False)
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
