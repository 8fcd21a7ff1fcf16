"""Draw the sample with the operators of cosmic-ray. Runs in the environment of scripts/lock/mutants.txt."""

import ast
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

from sandbox.mutants.places import definitions
from sandbox.mutants.sample import QUOTAS, Mutant, read_sample, write_sample

ROOT = Path(__file__).parents[2]
SEED = 20261129
_Function = ast.FunctionDef | ast.AsyncFunctionDef
Position = tuple[str, int]
"""The name of an operator, and which of the places where it applies."""


def draw(root: Path = ROOT) -> None:
    """Fill the sample up to the quotas; mutants whose function and line still exist stay."""
    kept = [mutant for mutant in read_sample() if _is_there(mutant, root)]
    for part, quota in QUOTAS.items():
        have = [mutant for mutant in kept if mutant.part == part]
        taken = {mutant.function for mutant in have}
        fresh = (mutant for mutant in _candidates(root, part) if mutant.function not in taken)
        for mutant in fresh:
            if len(have) >= quota:
                break
            have.append(mutant)
        kept = [mutant for mutant in kept if mutant.part != part] + have
        print(f"{part}: {len(have)}", file=sys.stderr)
    write_sample(kept)


def _is_there(mutant: Mutant, root: Path) -> bool:
    try:
        mutant.line_number(root)
    except LookupError:
        return False
    return True


def _files(root: Path, part: str) -> list[Path]:
    folder = root.joinpath(*part.split("."))
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


def _candidates(root: Path, part: str) -> Iterator[Mutant]:
    """Yield one mutant of each function of a part, in a random order that is always the same."""
    chance = random.Random(f"{SEED} {part}")
    functions = [
        (path, name, kinds) for path in _files(root, part) for name, kinds in _positions(path).items()
    ]
    chance.shuffle(functions)
    for path, name, kinds in functions:
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        order = chance.sample(sorted(kinds), len(kinds))
        for operator, occurrence in (
            position for kind in order for position in _shuffled(kinds[kind], chance)
        ):
            mutant = _one_line(path.read_text("utf-8"), f"{module}:{name}", operator, occurrence)
            if mutant is not None:
                yield mutant
                break


def _shuffled(positions: list[Position], chance: random.Random) -> list[Position]:
    return chance.sample(positions, len(positions))


def _positions(path: Path) -> dict[str, dict[str, list[Position]]]:
    """Where the operators apply in a module, by function and kind of operator.

    What stands before the first line of the body, decorators and defaults, runs when the module is imported:
    no test is recorded for it.
    """
    functions, annotations = _spans(ast.parse(path.read_text("utf-8")))
    found: dict[str, dict[str, list[Position]]] = defaultdict(lambda: defaultdict(list))
    nodes = list(ast_nodes(get_ast_from_path(path)))
    for operator_name in operator_names():
        operator_class = get_operator(operator_name)
        if operator_class.arguments():
            continue
        operator = operator_class()
        places = (start for node in nodes for start, _ in operator.mutation_positions(node))
        for occurrence, start in enumerate(places):
            inside = [name for name, node in functions if node.body[0].lineno <= start[0] <= _end(node)]
            # A changed annotation changes a type, not what happens.
            if inside and not any(first <= start <= last for first, last in annotations):
                found[inside[-1]][_kind(operator_name)].append((operator_name, occurrence))
    return found


def _kind(operator: str) -> str:
    return operator.removeprefix("core/").partition("_")[0]


def _spans(
    tree: ast.Module,
) -> tuple[list[tuple[str, _Function]], list[tuple[tuple[int, int], tuple[int, int]]]]:
    """The functions and methods, and the positions of annotations."""
    names = Counter(name for name, _ in definitions(tree))
    functions = [
        (name, node) for name, node in definitions(tree) if isinstance(node, _Function) and names[name] == 1
    ]
    found = (getattr(node, field, None) for node in ast.walk(tree) for field in ("annotation", "returns"))
    annotations = [
        ((node.lineno, node.col_offset), (_end(node), node.end_col_offset or 0))
        for node in found
        if isinstance(node, ast.expr)
    ]
    return functions, annotations


def _end(node: ast.stmt | ast.expr) -> int:
    return node.end_lineno or node.lineno


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
    functions, _ = _spans(ast.parse(source))
    node = next(node for name, node in functions if name == function.partition(":")[2])
    first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
    line = before[number].strip()
    earlier = sum(each.strip() == line for each in before[first - 1 : number])
    return Mutant(function, operator.removeprefix("core/"), line, after[number].strip(), earlier)


if __name__ == "__main__":
    draw()
