"""`leads doctor`: whether an installation is complete, before and after each of its steps."""
