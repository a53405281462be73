"""Fixtures of the servers."""
