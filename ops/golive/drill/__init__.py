"""`leads golive drill`: a tier of the rollback, rehearsed in staging under steady traffic and timed."""
