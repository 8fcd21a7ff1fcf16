"""`leads edge-spool`: show the deliveries that the edge keeps on disk, and release quarantined ones."""
