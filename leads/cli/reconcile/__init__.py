"""`leads reconcile`: the ledger of one ICT day, computed now or as it was stored."""
