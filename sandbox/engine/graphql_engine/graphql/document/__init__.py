"""From the text of a request to checked selections and values."""
