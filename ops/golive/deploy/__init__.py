"""`leads golive deploy`: the steps of section E4 of the checklist, resumable, each with its undo."""
