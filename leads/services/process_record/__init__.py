"""Process an event: claim it, load the facts, plan, apply, in at most six round trips.

handlers/process_record.py and, rolled back, the dry run of leads/services/replay_events.py call the same
functions: `claim`, `load_and_decide` (in `plan`), `apply_plan`.
"""
