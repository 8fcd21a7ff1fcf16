"""`leads tickets`: Pancake's tickets moved to another ticket source, and back."""
