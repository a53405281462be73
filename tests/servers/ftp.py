"""A real FTP server (pyftpdlib) over a folder, with one user."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

with warnings.catch_warnings():
    # It rests on asyncore, which Python 3.11 says goodbye to and a package brings back.
    warnings.simplefilter("ignore", DeprecationWarning)
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.ioloop import IOLoop
    from pyftpdlib.servers import FTPServer


@dataclass
class Ftp:
    """A running server. It breaks a transfer after `break_after` bytes; in an upload the session with it."""

    port: int
    root: Path
    server: FTPServer
    break_after: int | None = None
    broke: bool = False


@contextlib.contextmanager
def ftp(root: Path) -> Iterator[Ftp]:
    """`me` with the password `hush` may do everything below `root`."""
    log = logging.getLogger("pyftpdlib")
    log.addHandler(logging.NullHandler())  # or it would make one for the terminal
    log.propagate = False
    authorizer = DummyAuthorizer()
    authorizer.add_user("me", "hush", str(root), perm="elradfmwMT")
    handler = type(
        "Handler", (FTPHandler,), {"authorizer": authorizer, "auth_failed_timeout": 0, "use_sendfile": False}
    )
    handler.dtp_handler = type("Data", (handler.dtp_handler,), {"handle_read_event": _reading, "send": _sending})
    loop = IOLoop()
    server = FTPServer(("127.0.0.1", 0), handler, ioloop=loop)
    running = Ftp(server.address[1], root, server)
    handler.running = handler.dtp_handler.running = running
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            loop.loop(timeout=0.02, blocking=False)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        over.set()
        thread.join()
        server.close_all()
        loop.close()


def _counted(self: object, count: int) -> bool:
    """Whether the connection breaks here."""
    running = self.running  # type: ignore[attr-defined]
    if running.break_after is None:
        return False
    running.break_after -= count
    if running.break_after > 0:
        return False
    running.break_after, running.broke = None, True
    return True


def _reading(self: object) -> None:
    base = type(self).__mro__[1]
    base.handle_read(self)  # type: ignore[attr-defined]
    if _counted(self, 65536):
        self.cmd_channel.close()  # type: ignore[attr-defined]


def _sending(self: object, data: bytes) -> int:
    base = type(self).__mro__[1]
    sent: int = base.send(self, data)  # type: ignore[attr-defined]
    if _counted(self, sent):
        self._resp = ("426 Connection aborted.", logging.getLogger("pyftpdlib").debug)  # type: ignore[attr-defined]
        self.close()  # type: ignore[attr-defined]
    return sent
