"""Write the corpus of bodies as files, or take it from files."""

import sys
from pathlib import Path

from proofs.fuzz import pack, unpack

if __name__ == "__main__":
    {"unpack": unpack, "pack": pack}[sys.argv[1]]("body", Path(sys.argv[2]))
