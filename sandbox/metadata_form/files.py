"""The files of a metadata directory, each in the CLI's form."""

from pathlib import Path
from typing import Any

import yaml

from ops.metadata.directory import INCLUDE, DirectoryError, parse
from sandbox.metadata_form.documents import UnknownForm, format_query, format_signatures
from sandbox.metadata_form.order import ordered

INDICATOR = "tag:yaml.org,2002:yaml"
"""What PyYAML takes `*`, `&` and `!` alone for."""

__all__ = ["UnknownForm", "format_file", "formatted_files"]


def formatted_files(directory: Path) -> dict[Path, str]:
    """Return the text that each file should have. Raises UnknownForm."""
    paths = [*directory.glob("*.yaml"), *directory.glob("*.graphql"), *directory.glob("databases/**/*.yaml")]
    return {path: format_file(path) for path in sorted(paths)}


def format_file(path: Path) -> str:
    """Return the text that one file should have. Raises UnknownForm."""
    if path.suffix == ".graphql":
        return format_signatures(path.read_text("utf-8"))
    try:
        content = parse(path)
    except DirectoryError as error:
        raise UnknownForm(str(error)) from error
    if path.name == "query_collections.yaml":
        for collection in content:
            for query in collection["definition"]["queries"]:
                query["query"] = format_query(query["query"])
    kind = path.stem if path.parent.name != "tables" or path.stem == "tables" else "table"
    return dump(ordered(content, kind) if kind != "actions" else _actions(content))


def dump(content: Any) -> str:
    """Return YAML as the CLI's library (yaml.v3 for Go) writes it."""
    return yaml.dump(
        content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"),
        default_flow_style=False,
    )  # fmt: skip


def _actions(content: Any) -> Any:
    """Keep the order of the custom types, which is that of `actions.graphql`."""
    return {
        "actions": ordered(content["actions"], "actions"),
        "custom_types": {
            kind: [ordered(item, "custom_types") for item in items]
            for kind, items in sorted(content["custom_types"].items())
        },
    }


class _Dumper(yaml.SafeDumper):
    """Lists are indented, texts of several lines are literal, what reads as another type is in `"`."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _string(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    tag = "tag:yaml.org,2002:str"
    if "\n" in text:
        return dumper.represent_scalar(tag, text, style="|")
    read_as = dumper.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    quoted = read_as not in (tag, INDICATOR) or text in ("y", "Y", "n", "N") or text.startswith(INCLUDE)
    return dumper.represent_scalar(tag, text, style='"' if quoted else None)


_Dumper.add_representer(str, _string)
