"""What the handlers and crons are made of: services, adapters, domain; and `cli`, the operators' command."""
