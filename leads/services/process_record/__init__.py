"""Process an event: claim it, load the facts, plan, apply, in at most six round trips.

`claim` → `load` → `plan` → `apply` follow one another in handlers/process_record.py and, rolled back, in the dry
run of handlers/replay_events.py.
"""
