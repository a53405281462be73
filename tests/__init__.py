"""Tests mirror src/bentosync."""
