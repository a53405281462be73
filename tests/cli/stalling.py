"""A relay in front of a server that lets a given number of bytes through to the client and then falls silent."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

_PIECE_BYTES = 1 << 16


class Stalling:
    """Counts bytes to the client over all connections; above `limit_bytes` (`silent`) they wait until `released`."""

    def __init__(self, port: int, limit_bytes: int) -> None:
        self.silent = threading.Event()
        self.released = threading.Event()
        self._port = port
        self._left = limit_bytes
        self._lock = threading.Lock()

    def serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                for source, target, counted in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pump, args=(source, target, counted), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_PIECE_BYTES):
                if counted and not self._allowed(len(data)):
                    self.silent.set()
                    self.released.wait()
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _allowed(self, count: int) -> bool:
        with self._lock:
            self._left -= count
            return self._left >= 0


@contextlib.contextmanager
def stalling(port: int, limit_bytes: int) -> Iterator[tuple[int, threading.Event]]:
    """Yield the port of a relay to `port` that stalls, and the event that says it does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        relay = Stalling(port, limit_bytes)
        threading.Thread(target=relay.serve, args=(listener,), daemon=True).start()
        try:
            yield listener.getsockname()[1], relay.silent
        finally:
            relay.released.set()
