"""The scenarios of `scripts/chaos`: each injects faults and counts lost and duplicated leads."""
