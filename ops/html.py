"""HTML pages, from templates of Jinja2 that stand beside the module that fills them."""

from pathlib import Path
from typing import Any

from ops.output import escape_unseen


def render_page(template: Path, **values: Any) -> str:
    """Return the page of a template. Every value in it is escaped, and what is not seen of it too."""
    # Only now: the help of `leads` imports every verb, and few need the library.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(template.parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_finalize,
    )  # fmt: skip
    return environment.get_template(template.name).render(values)


def _finalize(value: Any) -> Any:
    """Escape what is not seen of a text; Jinja2 escapes the rest. Markup is HTML of our own."""
    return escape_unseen(value) if type(value) is str else value
