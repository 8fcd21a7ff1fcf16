"""Reconcile closed days with Pancake, for the cron and for the operators' command `reconcile`."""
