"""`leads status`: the one screen that says whether leads become tickets, and if not, why."""
