"""`leads edge-spool`: the deliveries that the edge keeps on disk, and the way out of quarantine."""
