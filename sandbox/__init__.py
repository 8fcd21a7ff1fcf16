"""Everything that is someone else's in production; production code never imports it."""
