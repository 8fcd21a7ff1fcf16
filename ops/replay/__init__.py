"""`leads replay`: call the action pancake_replay_events."""
