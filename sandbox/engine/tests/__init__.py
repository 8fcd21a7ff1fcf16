"""Tests of the stand-in. A regular package, so that another `tests` on the path is not imported instead."""
