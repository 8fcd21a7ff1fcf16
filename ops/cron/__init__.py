"""`leads cron`: the seven crons, when they ran and when they are due; run one now."""
