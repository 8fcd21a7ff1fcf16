"""Process an event: claim it, load the facts, plan, apply, in at most six round trips.

`claim` → `load` → `plan` → `apply` run in handlers/process_record.py and, rolled back, in the dry run of
leads/services/replay_events.py.
"""
