"""`scripts/backfill_normalized_phone`: fills account.normalized_phone beside live traffic.

Passes over the accounts by id: read, parse in several processes, write. What another session holds or
changes meanwhile is left to the next pass; the last pass finds only unusable phones, and lists them.
"""
