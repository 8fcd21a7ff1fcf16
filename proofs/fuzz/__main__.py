"""Write the corpus of bodies as files, take it from files, or add a run to the totals."""

import sys
from pathlib import Path

from proofs.fuzz import add_run, pack, unpack

if __name__ == "__main__":
    match sys.argv[1:]:
        case ["add", name, seconds, executions]:
            add_run(name, float(seconds), int(executions))
        case ["unpack", folder]:
            unpack("body", Path(folder))
        case ["pack", folder]:
            pack("body", Path(folder))
        case _:
            sys.exit(__doc__)
