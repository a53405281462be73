"""Free TCP ports of this machine."""

from __future__ import annotations

import socket

# SeaweedFS listens for gRPC at port + 10000.
_PORT_MAX = 55_535


def free_ports(count: int) -> list[int]:
    """Different ports nobody listens on, each with its neighbour at + 10000 free too."""
    ports: list[int] = []
    with _Sockets() as sockets:
        while len(ports) < count:
            port = sockets.bind(0)
            if port is None or port > _PORT_MAX or sockets.bind(port + 10_000) is None:
                continue
            ports.append(port)
    return ports


class _Sockets:
    """Bound sockets, kept until the end so that no port is handed out twice."""

    def __enter__(self) -> _Sockets:
        self._open: list[socket.socket] = []
        return self

    def __exit__(self, *exc: object) -> None:
        for opened in self._open:
            opened.close()

    def bind(self, port: int) -> int | None:
        opened = socket.socket()
        self._open.append(opened)
        try:
            opened.bind(("127.0.0.1", port))
        except OSError:
            return None
        return int(opened.getsockname()[1])
