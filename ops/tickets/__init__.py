"""`leads tickets`: move Pancake's tickets to another ticket source, and back."""
