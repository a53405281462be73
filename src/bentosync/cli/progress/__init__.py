"""Observers that show a running operation: a bar, plain lines, JSON lines, or nothing."""
