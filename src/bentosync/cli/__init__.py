"""The command line: one file per command, flags here and work below."""
