"""Limits of a request, which protect the machine of a test; `api_limits` of the metadata are not applied."""

MAX_TOKENS = 100_000
MAX_DEPTH = 60
MAX_NODES = 20_000
MAX_REQUESTS_PER_BATCH = 200
