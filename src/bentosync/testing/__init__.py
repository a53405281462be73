"""Fixtures of pytest for code that uses bentosync. Nothing of it is loaded unless a test suite asks for it.

    pytest_plugins = ["bentosync.testing"]      # in the conftest.py at the root

Or import the fixtures that are wanted into a `conftest.py`. How to use them: docs/how-to/testing.md.

PYTEST_DONT_REWRITE: there is nothing to rewrite here, and pytest would warn of a conftest that imports this first.
"""

from __future__ import annotations

from bentosync.testing.fixtures import bentosync_store, s3_server, seaweedfs_server, tiny_model
from bentosync.testing.s3 import S3Server
from bentosync.testing.tiny import tiny_tensors

__all__ = ["S3Server", "bentosync_store", "s3_server", "seaweedfs_server", "tiny_model", "tiny_tensors"]
