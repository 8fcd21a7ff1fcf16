"""Draw the sample with the operators of cosmic-ray. Runs in the environment of scripts/lock/mutants.txt."""

import ast
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

from proofs.mutants.places import definitions, find_place
from proofs.mutants.sample import QUOTAS, Mutant, read_sample, write_sample

ROOT = Path(__file__).parents[2]
SEED = 20261129
Position = tuple[int, int]
Choice = tuple[str, int]
"""The name of an operator, and which of the places where it applies."""


def draw(root: Path = ROOT) -> None:
    """Fill the sample up to the quotas, modules without a mutant first; what still exists stays."""
    kept = [mutant for mutant in read_sample() if _is_there(mutant, root)]
    for part, quota in QUOTAS.items():
        have = [mutant for mutant in kept if mutant.part == part]
        if len(have) >= quota:
            continue
        functions, modules = {mutant.function for mutant in have}, {mutant.module for mutant in have}
        fresh = [mutant for mutant in _candidates(root, part) if mutant.function not in functions]
        first = [mutant for mutant in fresh if mutant.module not in modules]
        first = list({mutant.module: mutant for mutant in reversed(first)}.values())
        rest = (mutant for mutant in fresh if mutant not in first)
        drawn = list(islice(chain(first, rest), quota - len(have)))
        kept += drawn
        print(f"{part}: {len(drawn)} drawn", file=sys.stderr)
    write_sample(kept)


def _is_there(mutant: Mutant, root: Path) -> bool:
    with suppress(LookupError):
        return mutant.line_number(root) > 0
    return False


def _candidates(root: Path, part: str) -> Iterator[Mutant]:
    """Yield one mutant of each function of a part, in a random order that is always the same."""
    chance = random.Random(f"{SEED} {part}")
    folder = root.joinpath(*part.split("."))
    paths = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    functions = [(path, name, kinds) for path in paths for name, kinds in _positions(path).items()]
    chance.shuffle(functions)
    for path, name, kinds in functions:
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        order = chance.sample(sorted(kinds), len(kinds))
        choices = (choice for kind in order for choice in chance.sample(kinds[kind], len(kinds[kind])))
        source, function = path.read_text("utf-8"), f"{module}:{name}"
        mutants = (_one_line(source, function, *choice) for choice in choices)
        yield from islice(filter(None, mutants), 1)


def _positions(path: Path) -> dict[str, dict[str, list[Choice]]]:
    """Where the operators apply in a module, by function and kind of operator.

    What stands before the first line of the body, decorators and defaults, runs when the module is imported:
    no test is recorded for it.
    """
    tree = ast.parse(path.read_text("utf-8"))
    functions, annotations = _functions(tree), _annotations(tree)
    found: dict[str, dict[str, list[Choice]]] = defaultdict(lambda: defaultdict(list))
    nodes = list(ast_nodes(get_ast_from_path(path)))
    for operator_name in operator_names():
        operator_class = get_operator(operator_name)
        if operator_class.arguments():
            continue
        operator, kind = operator_class(), operator_name.removeprefix("core/").partition("_")[0]
        places = (start for node in nodes for start, _ in operator.mutation_positions(node))
        for occurrence, start in enumerate(places):
            lines = ((name, node.body[0].lineno, node.end_lineno or 0) for name, node in functions)
            inside = [name for name, first, last in lines if first <= start[0] <= last]
            # A changed annotation changes a type, not what happens.
            if inside and not any(first <= start <= last for first, last in annotations):
                found[inside[-1]][kind].append((operator_name, occurrence))
    return found


def _functions(tree: ast.Module) -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    names = Counter(name for name, _ in definitions(tree))
    return [
        (name, node)
        for name, node in definitions(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and names[name] == 1
    ]


def _annotations(tree: ast.Module) -> list[tuple[Position, Position]]:
    found = (getattr(node, field, None) for node in ast.walk(tree) for field in ("annotation", "returns"))
    return [
        ((node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0))
        for node in found
        if isinstance(node, ast.expr)
    ]


def _one_line(source: str, function: str, operator: str, occurrence: int) -> Mutant | None:
    """The mutant, if it changes one line of its function and still compiles."""
    try:
        changed = mutate_code(source, get_operator(operator)(), occurrence)
        compile(changed, "mutant", "exec")
    except (AttributeError, SyntaxError, TypeError, ValueError):
        return None  # among them what cosmic-ray cannot change: `except some.name`
    before, after = source.splitlines(), changed.splitlines()
    different = [n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b]
    if len(before) != len(after) or len(different) != 1:
        return None
    (number,) = different
    line = before[number].strip()
    earlier = sum(each.strip() == line for each in before[find_place(ROOT, function).first : number])
    return Mutant(function, operator.removeprefix("core/"), line, after[number].strip(), earlier)


if __name__ == "__main__":
    draw()
