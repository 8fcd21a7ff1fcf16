"""`leads erase`: erase a customer from everything that the integration wrote, and keep the customer out.

`target` says whose data it is, `finding` finds the rows, `erasing` empties them in one transaction, `files`
the files on this machine.
"""
