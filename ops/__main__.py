"""`leads`: the operators' command, or where it is if only the handlers are installed."""

import sys
from importlib.util import find_spec

NOT_INSTALLED = """\
leads is not installed here: this environment has only what the handlers need.
Use the image `ops`, scripts/leads of a clone, or: pip install 'pancake-diva[ops]'
The handlers are served by: pancake-handlers"""


def main() -> None:
    """Run the command. Exit code 2 without the extra `ops`."""
    if find_spec("typer") is None:
        print(NOT_INSTALLED, file=sys.stderr)
        sys.exit(2)
    from ops.cli import run

    run()


if __name__ == "__main__":
    main()
