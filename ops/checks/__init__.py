"""One table of checks (table.py), from which status, doctor, metadata, precheck and the gates select."""
