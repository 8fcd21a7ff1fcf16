"""`leads setup`: install the integration, finish the installation, and take it back."""
