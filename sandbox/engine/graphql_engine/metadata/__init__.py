"""The metadata: read from a project directory, merged, checked, and changed by the metadata API."""
