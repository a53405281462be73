"""How large should the buffer be that a body is received into, hashed in, and written from?

A bare loop, so that nothing else is measured: recv_into a reused buffer until it is full, XXH3, pwrite to a fresh file.
Small buffers pay system calls and wake-ups, large ones leave the cache between the three steps.

    python -m perf.exp_buffer --size 1GiB --rounds 5
"""

from __future__ import annotations

import argparse
import os
import random
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from perf import process
from perf.experiment import show
from perf.model import parse_size
from perf.null_server import BUCKET, serve

KIB = 1 << 10
_CHUNK_BYTES = 1 << 20


def receive(port: int, size: int, buffer_bytes: int, target: Path) -> None:
    """One GET over a plain socket, in a process of its own."""
    import xxhash

    view = memoryview(bytearray(buffer_bytes))
    with socket.create_connection(("127.0.0.1", port)) as connection, target.open("wb", buffering=0) as file:
        connection.sendall(f"GET /{BUCKET}/object HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        offset = 0
        while offset < size:
            wanted, filled = min(buffer_bytes, size - offset), 0
            while filled < wanted:
                count = connection.recv_into(view[filled:wanted])
                if count == 0:
                    raise SystemExit("the reply ended early")
                filled += count
            xxhash.xxh3_64_digest(view[:wanted])
            os.pwrite(file.fileno(), view[:wanted], offset)
            offset += wanted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_size, default=1 << 30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--values", nargs="+", type=int, default=[64, 256, 512, 1024, 2048, 8192], help="KiB")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        port, size, buffer_bytes, target = arguments.child
        receive(int(port), int(size), int(buffer_bytes), Path(target))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        root = Path(folder)
        (root / "served" / BUCKET).mkdir(parents=True)
        _write(root / "served" / BUCKET / "object", arguments.size)
        taken: dict[str, list[tuple[float, float]]] = {f"{value} KiB": [] for value in arguments.values}
        draw = random.Random(1)
        for _ in range(arguments.rounds):
            for value in draw.sample(arguments.values, len(arguments.values)):
                (root / "target").unlink(missing_ok=True)
                with serve(root / "served") as server:
                    child = [urlsplit(server.endpoint_url).port, arguments.size, value * KIB, root / "target"]
                    words = [sys.executable, __file__, "--child", *map(str, child)]
                    path = str(Path(__file__).parents[1])
                    used = process.run(words, {**os.environ, "PYTHONPATH": path}, log=root / "log")
                subprocess.run(["cmp", root / "served" / BUCKET / "object", root / "target"], check=True)
                taken[f"{value} KiB"].append((used.seconds, used.cpu_seconds))
        print(f"fastest with a buffer of {show('near', 'pull', taken, arguments.size)}")


def _write(path: Path, size: int) -> None:
    """Bytes that differ wherever they stand."""
    with path.open("wb") as file:
        for chunk in range(-(-size // _CHUNK_BYTES)):
            file.write(random.Random(chunk).randbytes(min(_CHUNK_BYTES, size - chunk * _CHUNK_BYTES)))


if __name__ == "__main__":
    main()
