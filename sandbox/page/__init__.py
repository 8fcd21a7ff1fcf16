"""The page of the sandbox: live leads, tickets and owners, and buttons to send leads and stop parts."""
