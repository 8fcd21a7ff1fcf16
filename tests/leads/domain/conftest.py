"""Property tests use the same examples everywhere and do not fail on a slow machine."""

from hypothesis import settings

settings.register_profile("pancake", deadline=None, derandomize=True, max_examples=150, database=None)
settings.load_profile("pancake")
