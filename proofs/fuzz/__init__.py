"""Fuzzing: what a sender may post, mutated by coverage. scripts/fuzz runs it; its corpus stays here."""
