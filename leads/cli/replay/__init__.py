"""`leads replay`: the action pancake_replay_events from a terminal."""
