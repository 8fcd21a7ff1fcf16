"""`leads config`: which variables are set, and from where; no secret is shown."""
