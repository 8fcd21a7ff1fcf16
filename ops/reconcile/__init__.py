"""`leads reconcile`: print the ledger of one ICT day, computed now or stored."""
