"""Check or write the form of `hasura/metadata`.

    python -m sandbox.metadata_form [--fix] [DIR]

Exit code 1: a file is not in the form in which the CLI exports it (without --fix), or has something of
which the form is not known. Each file is named.
"""

import argparse
import sys
from pathlib import Path

from ops.metadata.directory import DIRECTORY
from sandbox.metadata_form.files import UnknownForm, formatted_files


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.metadata_form")
    parser.add_argument("--fix", action="store_true", help="write the files that differ")
    parser.add_argument("directory", nargs="?", type=Path, default=DIRECTORY)
    chosen = parser.parse_args()
    try:
        files = formatted_files(chosen.directory)
    except UnknownForm as error:
        print(error, file=sys.stderr)
        return 1
    different = {path: text for path, text in files.items() if path.read_text("utf-8") != text}
    for path, text in different.items():
        if chosen.fix:
            path.write_text(text, "utf-8")
        else:
            print(f"{path}: not in the form of `hasura metadata export`. Run: scripts/check --fix")
    return 1 if different and not chosen.fix else 0


if __name__ == "__main__":
    sys.exit(main())
