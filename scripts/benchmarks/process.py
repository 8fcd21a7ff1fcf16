"""`scripts/bench process`: being written."""


def process() -> None:
    """x"""
