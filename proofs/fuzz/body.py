"""The target of atheris: a body of any bytes is checked.

It needs the packages of scripts/lock/fuzz.txt. Arguments are those of libFuzzer.
"""

import sys

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["leads"]):
    from proofs.fuzz.check import check_body


if __name__ == "__main__":
    # The name is the command by which libFuzzer starts itself to merge.
    atheris.Setup([f"{sys.executable} -m proofs.fuzz.body", *sys.argv[1:]], check_body)
    atheris.Fuzz()
