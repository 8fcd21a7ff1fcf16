"""The public edge on a developer's machine: the real one (nginx) where it is installed."""
