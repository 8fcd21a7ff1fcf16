"""Whether our part is in a project, whole and in this version."""

from ops.metadata.normal import same
from ops.metadata.project import permission
from ops.metadata.project.our_part import MIGRATION, OurPart, held_migrations
from ops.metadata.project.plan import read_text


def find_problems(part: OurPart) -> list[str]:
    """List our pieces that are missing or of another version. Raises ProjectRefused."""
    layout = part.layout
    held = layout.pieces | held_migrations(layout)
    problems = []
    for key, piece in part.pieces.items():
        if key not in held:
            problems.append(f"{' '.join(key)} is missing")
        elif held[key] != piece if key[0] == MIGRATION else not same(piece, held[key]):
            problems.append(f"{' '.join(key)} differs from this version")
    former = sorted(part.names - part.pieces.keys())
    problems += [f"{' '.join(key)} is of a former version" for key in former if key in held]
    path = layout.metadata / "actions.yaml"
    if not permission.has_permission(read_text(path) or "", layout.name(path)):
        problems.append(f"{permission.ROLE} may not call the action {permission.ACTION}")
    return problems
