"""What holds for the compiled receive path beyond the contract that all wires share (test_wire)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
import xxhash

from bentosync.errors import NetworkError, RemoteError
from bentosync.native import receiving
from bentosync.settings import TransferSettings
from bentosync.wire.exchange import Request, Wire
from bentosync.wire.landing import Landing
from bentosync.wire.pooled import PooledWire
from tests.servers.raw import Connection, RawServer, Received, Script, serve
from tests.wire.test_wire import Collector, eventually, pattern, wants

pytestmark = pytest.mark.skipif(receiving.openssl_version() is None, reason="no compiled core, or no OpenSSL 3")

FAST = TransferSettings(jobs=4, connect_seconds=1, stall_seconds=0.15)
UNIT = 64 << 10
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"


def native(ca_bundle: Path | None = None, *, threads: int | None = None) -> Wire:
    from bentosync.wire.native import NativeWire

    bundle = str(ca_bundle) if ca_bundle else None
    return NativeWire(FAST, behind=PooledWire(FAST, ca_bundle=bundle), ca_bundle=bundle, threads=threads)


@contextlib.asynccontextmanager
async def talk(script: Script) -> AsyncIterator[tuple[Wire, RawServer]]:
    async with serve(script) as server:
        wire = native()
        try:
            yield wire, server
        finally:
            await wire.aclose()


def serving(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(tls)
    return tls


async def received(wire: Wire, url: str, count: int) -> bytes:
    sink = Collector()
    await wire.receive(Request("GET", url), judge=wants(count), sink=sink)
    return bytes(sink.data)


@pytest.mark.parametrize("name", ["stranger", "elsewhere"])
async def test_a_certificate_that_does_not_vouch_for_the_host_is_refused_for_good(name: str, tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = serving(stranger) if name == "stranger" else serving(authority, "elsewhere.example")
    async with serve(lambda connection, received: connection.reply(b"x"), tls=tls) as server:
        wire = native(tmp_path / "ca.pem")
        with pytest.raises(NetworkError, match="not trusted") as caught:
            await received(wire, f"https://127.0.0.1:{server.port}/", 1)
        await wire.aclose()
    assert not caught.value.retryable


async def test_a_name_is_sent_and_verified_and_a_folder_of_authorities_is_read(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True)
    names: list[str | None] = []
    tls = serving(authority, "localhost")
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    async with serve(lambda connection, received: connection.reply(b"named"), tls=tls) as server:
        wire = native(tmp_path)
        assert await received(wire, f"https://localhost:{server.port}/", 5) == b"named"
        await wire.aclose()
    assert names == ["localhost"]


async def test_a_server_that_speaks_no_tls_is_a_network_error(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    async with serve(lambda connection, received: connection.reply()) as server:
        wire = native(tmp_path / "ca.pem")
        with pytest.raises(NetworkError, match=r"127\.0\.0\.1"):
            await received(wire, f"https://127.0.0.1:{server.port}/", 1)
        await wire.aclose()


async def test_http_is_received_by_the_core_too() -> None:
    async with serve(lambda connection, received: connection.reply(b"plain")) as server:
        wire = native()
        assert await received(wire, server.url, 5) == b"plain"
        await wire.aclose()
    assert "accept" not in server.requests[0].headers  # aiohttp sends it, we do not


class Lander:
    """A landing sink: `data` goes to `offset` of `fd`, in units of 64 KiB; one digest may be wrong."""

    def __init__(self, fd: int, offset: int, data: bytes, *, wrong: int | None = None) -> None:
        self.fd, self.offset = fd, offset
        self.at, self.count, self.times = 0, 0, (0.0, 0.0, 0.0)
        self.memory = memoryview(bytearray(UNIT))
        self.handed_over = b""
        self.digests = b"".join(xxhash.xxh3_64_digest(data[at : at + UNIT]) for at in range(0, len(data), UNIT))
        if wrong is not None:
            self.digests = self.digests[: 8 * wrong] + bytes(8) + self.digests[8 * wrong + 8 :]

    def landing(self, left: int) -> Landing | None:
        digests = self.digests[self.at // UNIT * 8 :]
        return None if self.handed_over else Landing(self.memory, self.fd, self.offset + self.at, left, digests)

    def landed(self, count: int, coming: int) -> None:
        self.at += count

    def spent(self, hash_seconds: float, disk_seconds: float, disk_cpu_seconds: float) -> None:
        self.times = (hash_seconds, disk_seconds, disk_cpu_seconds)

    def buffer(self) -> memoryview:
        return self.memory

    def filled(self, count: int) -> None:
        if not self.handed_over:
            self.handed_over = bytes(self.memory[:count])


@pytest.mark.parametrize("threads", [1, 4])
async def test_bodies_land_in_one_file_side_by_side_and_what_that_took_is_told(threads: int, tmp_path: Path) -> None:
    data = pattern(20 * UNIT + 4321)
    size = len(data)

    async def script(connection: Connection, received: Received) -> None:
        await connection.reply(data)

    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    sinks = [Lander(fd, number * size, data) for number in range(8)]
    async with serve(script) as server:
        wire = native(threads=threads)
        async with asyncio.TaskGroup() as group:
            for sink in sinks:
                group.create_task(wire.receive(Request("GET", server.url), judge=wants(size), sink=sink))
        await wire.aclose()
    assert (tmp_path / "file").read_bytes() == data * 8
    assert all(sink.at == size and not sink.handed_over for sink in sinks)
    assert all(hashed > 0 and disk > 0 for hashed, disk, _ in (sink.times for sink in sinks))
    os.close(fd)


async def test_a_unit_that_is_not_what_it_should_be_is_handed_over_and_never_written(tmp_path: Path) -> None:
    data = pattern(5 * UNIT)

    async def script(connection: Connection, received: Received) -> None:
        await connection.reply(data)

    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    sink = Lander(fd, 0, data, wrong=2)
    async with talk(script) as (wire, server):
        await wire.receive(Request("GET", server.url), judge=wants(len(data)), sink=sink)
    assert sink.handed_over == data[2 * UNIT : 3 * UNIT]
    assert (tmp_path / "file").read_bytes() == data[: 2 * UNIT]
    os.close(fd)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", HEAD, HEAD + b"some"])
async def test_silence_within_a_receive_is_a_retryable_error_and_what_came_was_not_lost(sent: bytes) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.send(sent)
        await connection.gone()

    async with talk(script) as (wire, server):
        with pytest.raises(NetworkError, match="Nothing moved") as caught:
            await received(wire, server.url, 100_000_000)
        await eventually(lambda: server.open == 0)
    assert caught.value.retryable


async def test_a_slow_server_is_not_a_silent_one() -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        for byte in b"slowly..":
            await asyncio.sleep(0.05)
            await connection.send(bytes([byte]))

    async with talk(script) as (wire, server):
        assert await received(wire, server.url, 8) == b"slowly.."


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", RemoteError),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * (1 << 20) + b"\r\n\r\n", RemoteError),
        (b"HTTP/1.1 102 Processing\r\n\r\n" * 1000, RemoteError),
        (b"HTTP/1.1 200 OK\r\nContent-Le", NetworkError),
    ],
)
async def test_a_head_that_is_none_ends_the_receive(sent: bytes, error: type[NetworkError]) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.send(sent)
        connection.writer.close()

    async with talk(script) as (wire, server):
        with pytest.raises(error):
            await received(wire, server.url, 10)


async def test_interim_heads_are_skipped_however_they_are_cut() -> None:
    reply = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2 + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal"

    async def script(connection: Connection, received: Received) -> None:
        cut = len(server.requests) * 7
        await connection.send(reply[:cut])
        await asyncio.sleep(0.005)
        await connection.send(reply[cut:])

    async with talk(script) as (wire, server):
        for _ in range(len(reply) // 7 + 1):
            assert await received(wire, server.url, 5) == b"final"
        assert server.connections == 1


async def test_a_reset_is_a_retryable_error() -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.send(HEAD + b"some")
        connection.reset()

    async with talk(script) as (wire, server):
        with pytest.raises(NetworkError) as caught:
            await received(wire, server.url, 100_000_000)
    assert caught.value.retryable


async def test_bytes_that_nobody_asked_for_are_never_taken_for_a_reply() -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.reply(b"right")
        await connection.reply(b"wrong")

    async with talk(script) as (wire, server):
        for _ in range(3):
            assert await received(wire, server.url, 5) == b"right"
            await asyncio.sleep(0.02)
        assert server.connections == 3


async def test_a_connection_closed_while_it_rested_costs_no_error() -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.reply(b"x")
        connection.writer.close()

    async with talk(script) as (wire, server):
        for _ in range(20):
            assert await received(wire, server.url, 1) == b"x"


@pytest.mark.parametrize("secure", [False, True])
async def test_a_loser_that_keeps_sending_for_a_second_writes_no_byte_after_it_was_cancelled(
    secure: bool, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    async def script(connection: Connection, received: Received) -> None:
        with contextlib.suppress(ConnectionError):
            await connection.send(HEAD)
            while not connection.writer.transport.is_closing():
                await connection.send(b"\xaa" * 50_000)
                await asyncio.sleep(0)

    async with serve(script, tls=serving(authority) if secure else None) as server:
        url = f"{'https' if secure else 'http'}://127.0.0.1:{server.port}/"
        wire = native(tmp_path / "ca.pem")
        sinks = [Collector(300_000) for _ in range(8)]

        async def lose(sink: Collector, seconds: float) -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await wire.receive(Request("GET", url), judge=wants(100_000_000), sink=sink)
            sink.memory[:] = pattern(len(sink.memory))

        async with asyncio.TaskGroup() as group:
            for number, sink in enumerate(sinks):
                group.create_task(lose(sink, 0.03 + 0.007 * number))
        for _ in range(10):
            await asyncio.sleep(0.1)
            assert all(bytes(sink.memory) == pattern(300_000) for sink in sinks)
        await wire.aclose()


async def test_closing_ends_a_receive_in_flight_and_lets_go_of_its_buffer() -> None:
    started = asyncio.Event()

    async def script(connection: Connection, received: Received) -> None:
        await connection.send(HEAD + b"some")
        started.set()
        await connection.gone()

    sink = Collector()
    async with talk(script) as (wire, server), asyncio.TaskGroup() as group:
        call = group.create_task(ended(wire, server.url, sink))
        await started.wait()
        await wire.aclose()
        assert isinstance(await call, NetworkError)
    sink.memory.extend(b"it can grow: nobody holds it")


async def ended(wire: Wire, url: str, sink: Collector) -> Exception | None:
    try:
        await wire.receive(Request("GET", url), judge=wants(100_000_000), sink=sink)
    except NetworkError as error:
        return error
    return None


async def test_a_thousand_connections_leave_no_descriptor_and_no_thread_behind() -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.reply(b"x" * 10, headers="Connection: close\r\n")
        connection.writer.close()

    def resources() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    async with serve(script) as server:
        before = resources()
        wire = native()
        for _ in range(1000):
            assert await received(wire, server.url, 10) == b"x" * 10
        await wire.aclose()
        await eventually(lambda: server.open == 0)
        await asyncio.get_running_loop().shutdown_default_executor()  # asyncio resolves names in threads of its own
        # Fewer is fine: what an earlier test left to the garbage collector may be gone by now.
        await eventually(lambda: all(now <= then for now, then in zip(resources(), before, strict=True)))
    assert server.connections == 1000


def run(script: str) -> subprocess.CompletedProcess[str]:
    """`script` in an interpreter of its own, with an endless server at `url` in a thread."""
    prologue = """
        import asyncio, os, socket, sys, threading
        from bentosync.settings import TransferSettings
        from bentosync.wire.exchange import Request
        from bentosync.wire.native import NativeWire
        from bentosync.wire.pooled import PooledWire

        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"

        def endless():
            while True:
                peer, _ = listener.accept()
                threading.Thread(target=pump, args=[peer], daemon=True).start()

        def pump(peer):
            try:
                peer.recv(65536)
                peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 100000000000\\r\\n\\r\\n")
                while True:
                    peer.sendall(bytes(100_000))
            except OSError:
                pass

        class Sink:
            def __init__(self): self.memory, self.count = bytearray(1 << 20), 0
            def buffer(self): return memoryview(self.memory)
            def filled(self, count): self.count += count

        def wire():
            transfer = TransferSettings()
            return NativeWire(transfer, behind=PooledWire(transfer))

        threading.Thread(target=endless, daemon=True).start()
    """
    source = textwrap.dedent(prologue) + textwrap.dedent(script)
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False)


def test_an_interpreter_that_exits_in_the_middle_of_transfers_exits_cleanly() -> None:
    done = run("""
        def work():
            async def all_of_them():
                async with asyncio.TaskGroup() as group:
                    for sink in mine:
                        group.create_task(one.receive(Request("GET", url), judge=lambda r: 100000000000, sink=sink))
            asyncio.run(all_of_them())

        one = wire()
        mine = [Sink() for _ in range(4)]
        threading.Thread(target=work, daemon=True).start()
        while not all(sink.count for sink in mine):
            pass
        print("leaving")
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "leaving\n", "")


def test_a_child_forked_after_the_import_has_a_wire_of_its_own_and_leaves_its_parents_alone() -> None:
    done = run("""
        async def some(wire, sink):
            try:
                async with asyncio.timeout(30):
                    def enough(count):
                        sink.count += count
                        if sink.count > 5_000_000:
                            raise EOFError
                    sink.filled = enough
                    await wire.receive(Request("GET", url), judge=lambda r: 100000000000, sink=sink)
            except EOFError:
                return

        loop = asyncio.new_event_loop()
        theirs = wire()
        loop.run_until_complete(some(theirs, Sink()))
        child = os.fork()
        if child == 0:
            threading.Thread(target=endless, daemon=True).start()
            asyncio.run(some(wire(), Sink()))
            print("child", flush=True)
            del theirs
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        loop.run_until_complete(some(theirs, Sink()))
        loop.run_until_complete(theirs.aclose())
        loop.close()
        print("parent")
    """)
    assert (done.returncode, done.stdout) == (0, "child\nparent\n"), done.stderr
