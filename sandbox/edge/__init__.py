"""The real edge (nginx) on a developer's machine."""
