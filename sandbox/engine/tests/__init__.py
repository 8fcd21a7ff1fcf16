"""Tests of the stand-in: a regular package, so that no other `tests` on the path is taken for it."""
