"""What our small servers of storage APIs share: files in memory, a token, and a fault to order."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme


@dataclass
class Cloud:
    """One server's state.

    `break_up_after` and `break_down_after` count bytes of bodies; the connection in which the count is reached is
    closed there. `stay_broken` then refuses every later request too, as a server that died does.
    """

    port: int = 0
    token: str = "good-token"
    files: dict[str, bytes] = field(default_factory=dict)
    sessions: dict[str, bytearray] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    break_up_after: int | None = None
    break_down_after: int | None = None
    stay_broken: bool = False
    dead: bool = False
    broke: bool = False
    authority: Path | None = None


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with exact bodies; subclasses route."""

    protocol_version = "HTTP/1.1"
    cloud: Cloud

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            super().handle()

    def body(self) -> bytes:
        """All of the request's body, unless the server breaks first."""
        left = int(self.headers.get("Content-Length", 0))
        pieces = []
        while left:
            take = left if self.cloud.break_up_after is None else min(left, self.cloud.break_up_after)
            piece = self.rfile.read(take)
            left -= len(piece)
            pieces.append(piece)
            if self.cloud.break_up_after is not None:
                self.cloud.break_up_after -= len(piece)
                if self.cloud.break_up_after <= 0:
                    self.cloud.break_up_after = None
                    self.break_here()
            if not piece:
                raise ConnectionResetError
        return b"".join(pieces)

    def break_here(self) -> None:
        self.cloud.broke = True
        self.cloud.dead = self.cloud.stay_broken
        self.close_connection = True
        raise ConnectionResetError

    def enter(self) -> None:
        """Note the request; a dead server says nothing."""
        if self.cloud.dead:
            self.close_connection = True
            raise ConnectionResetError
        self.cloud.requests.append(f"{self.command} {self.path}")

    def reply(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.cloud.break_down_after is not None and status in (200, 206) and len(data) > 4096:
            cut = min(len(data), self.cloud.break_down_after)
            self.wfile.write(data[:cut])
            self.cloud.break_down_after -= cut
            if self.cloud.break_down_after <= 0:
                self.cloud.break_down_after = None
                self.wfile.flush()
                self.break_here()
            return
        self.wfile.write(data)

    def reply_json(self, document: Any, status: int = 200, **headers: str) -> None:
        self.reply(status, json.dumps(document).encode(), Content_Type="application/json", **headers)

    def reply_range(self, data: bytes, **headers: str) -> None:
        """`data`, or the range of it that was asked for."""
        asked = self.headers.get("Range")
        if asked is None:
            self.reply(200, data, Accept_Ranges="bytes", **headers)
            return
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(data)), len(data) - 1)
        if start >= len(data):
            self.reply(416)
            return
        part = data[start : end + 1]
        self.reply(206, part, Content_Range=f"bytes {start}-{end}/{len(data)}", **headers)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is what these servers are for."""


@contextlib.contextmanager
def serving(handler: type[Handler], folder: Path | None = None) -> Iterator[Cloud]:
    """A server on a free loopback port; with `folder`, over TLS, by an authority whose certificate is put there."""
    cloud = Cloud()
    server = _Server(("127.0.0.1", 0), type("Bound", (handler,), {"cloud": cloud}))
    cloud.port = server.server_address[1]
    if folder is not None:
        authority = trustme.CA()
        cloud.authority = folder / "authority.pem"
        authority.cert_pem.write_to_path(str(cloud.authority))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield cloud
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
