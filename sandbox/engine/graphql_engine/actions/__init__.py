"""Actions: the call to the handler, the check of its answer, and the loop of asynchronous ones."""
