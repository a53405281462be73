"""What bentosync is in other people's programs."""
