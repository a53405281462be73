"""A real WebDAV server (WsgiDAV) over a folder, with one user."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

from cheroot.wsgi import Server
from wsgidav.wsgidav_app import WsgiDAVApp


@contextlib.contextmanager
def webdav(root: Path) -> Iterator[int]:
    """The port; `me` with the password `hush` may do everything below `root`."""
    logging.getLogger("wsgidav").setLevel(logging.CRITICAL)
    app = WsgiDAVApp(
        {
            "provider_mapping": {"/": str(root)},
            "simple_dc": {"user_mapping": {"*": {"me": {"password": "hush"}}}},
            "verbose": 0,
            "logging": {"enable": False},
        }
    )
    server = Server(("127.0.0.1", 0), app, timeout=5, shutdown_timeout=1)
    server.error_log = lambda *args, **more: None  # clients that go away are part of the tests
    server.prepare()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server.bind_addr[1]
    finally:
        server.stop()
        thread.join()
