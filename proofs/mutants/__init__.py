"""`scripts/mutants`: small faults put into the Python of the product, one at a time. Do the tests notice?"""
