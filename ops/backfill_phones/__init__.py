"""`leads backfill-phones`: fill account.normalized_phone beside live traffic.

It passes over the accounts by id: read, parse in several processes, write. Rows that another session holds or
changes meanwhile are left to the next pass. The last pass finds only unusable phones, and lists them.
"""
