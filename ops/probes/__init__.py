"""Look at all parts of the integration at the same time, for `leads status` and `leads doctor`."""
