"""What holds for the wire on its own sockets beyond the contract that all wires share (test_wire)."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import pytest
import trustme

from bentosync.errors import IntegrityError, LocalIOError, NetworkError
from bentosync.settings import TransferSettings
from bentosync.wire.direct import DirectWire
from bentosync.wire.exchange import Extent, Reply, Request, Sink, Wire
from tests.servers.raw import Connection, RawServer, Received, Script, serve
from tests.wire.test_wire import Collector, eventually, pattern, wants

FAST = TransferSettings(jobs=4, connect_seconds=1, stall_seconds=0.15)


class Nobody:
    """The client behind: never needed here."""

    async def exchange(self, request: Request, *, body_bytes_max: int = 0) -> Reply:
        raise AssertionError("the direct wire gave a request away")

    async def receive(self, request: Request, *, judge: Callable[[Reply], int | None], sink: Sink) -> Reply:
        raise AssertionError("the direct wire gave a request away")

    def sends_files(self, url: str) -> bool:
        raise AssertionError("the direct wire asked another one")

    async def aclose(self) -> None:
        return


@contextlib.asynccontextmanager
async def talk(script: Script, **serving: object) -> AsyncIterator[tuple[Wire, RawServer]]:
    async with serve(script, **serving) as server:  # type: ignore[arg-type]
        wire = DirectWire(FAST, behind=Nobody())
        try:
            yield wire, server
        finally:
            await wire.aclose()


def body(size: int) -> list[memoryview]:
    return [memoryview(bytearray(size))]


async def test_a_reply_that_came_before_the_server_hung_up_on_the_body_counts() -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.reply(b"<Error/>", status="400 Bad Request")
        connection.reset()

    async with talk(script, read_body=False) as (wire, server):
        for _ in range(5):
            reply = await wire.exchange(Request("PUT", server.url, body=body(16 << 20)))
            assert (reply.status, reply.body) == (400, b"<Error/>")
        assert server.connections == 5


async def test_a_server_that_hangs_up_on_the_body_without_a_word_is_a_retryable_error() -> None:
    async def script(connection: Connection, received: Received) -> None:
        connection.reset()

    async with talk(script, read_body=False) as (wire, server):
        with pytest.raises(NetworkError) as caught:
            await wire.exchange(Request("PUT", server.url, body=body(16 << 20)))
    assert caught.value.retryable


@pytest.mark.parametrize(("method", "times"), [("PUT", 2), ("GET", 2), ("HEAD", 2), ("DELETE", 2), ("POST", 1)])
async def test_what_a_tired_connection_swallowed_is_sent_again_only_if_that_is_harmless(
    method: str, times: int
) -> None:
    seen: list[str] = []

    async def script(connection: Connection, received: Received) -> None:
        if received.target == "/first" or seen:
            await connection.reply()
        else:
            connection.writer.close()
        if received.target == "/second":
            seen.append(received.method)

    async with talk(script) as (wire, server):
        await wire.exchange(Request("GET", f"{server.url}/first"))
        with contextlib.nullcontext() if times == 2 else pytest.raises(NetworkError):
            await wire.exchange(
                Request(method, f"{server.url}/second", body=b"x" if method in ("PUT", "POST") else b"")
            )
    assert seen == [method] * times


async def test_bytes_that_nobody_asked_for_are_never_taken_for_a_reply() -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright")
        await connection.reply(b"wrong")

    async with talk(script) as (wire, server):
        for _ in range(20):
            assert (await wire.exchange(Request("GET", server.url))).body == b"right"
            await asyncio.sleep(0.002)


async def test_a_trickle_of_a_long_body_is_not_silence() -> None:
    data = pattern(600_000)

    async def script(connection: Connection, received: Received) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n" + data[:10_000])
        for begin in range(10_000, 20_000, 1000):
            await asyncio.sleep(0.05)
            await connection.send(data[begin : begin + 1000])
        await connection.send(data[20_000:])

    sink = Collector(70_000)
    async with talk(script) as (wire, server):
        await wire.receive(Request("GET", server.url), judge=wants(len(data)), sink=sink)
        await wire.receive(Request("GET", server.url), judge=wants(len(data)), sink=sink)
        assert server.connections == 1
    assert bytes(sink.data) == data + data


async def test_only_so_many_connections_rest() -> None:
    async def script(connection: Connection, received: Received) -> None:
        await asyncio.sleep(0.05)
        await connection.reply()

    async with talk(script) as (wire, server):
        async with asyncio.TaskGroup() as group:
            for _ in range(40):
                group.create_task(wire.exchange(Request("GET", server.url)))
        assert server.connections == 40
        await eventually(lambda: server.open == 2 * FAST.jobs + 8)


async def test_closing_ends_what_is_in_flight_and_lets_go_of_its_buffers() -> None:
    started = asyncio.Event()

    async def script(connection: Connection, received: Received) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nsome")
        started.set()
        await connection.gone()

    sink = Collector()
    async with talk(script) as (wire, server), asyncio.TaskGroup() as group:
        call = group.create_task(refused(wire, server.url, sink))
        await started.wait()
        await asyncio.sleep(0.01)
        await wire.aclose()
        assert "was closed" in await call
        await eventually(lambda: server.open == 0)
    assert bytes(sink.data) == b"some"
    sink.memory.extend(b"it can grow: nobody holds it")


async def refused(wire: Wire, url: str, sink: Collector) -> str:
    with pytest.raises(NetworkError) as caught:
        await wire.receive(Request("GET", url), judge=wants(1_000_000), sink=sink)
    return caught.value.message


def on_asyncio(main: Coroutine[None, None, None]) -> None:
    asyncio.run(main)


def on_uvloop(main: Coroutine[None, None, None]) -> None:
    pytest.importorskip("uvloop").run(main)


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("run", [on_asyncio, on_uvloop])
def test_megabytes_go_both_ways_over_one_connection_on_either_loop(
    run: Callable[[Coroutine[None, None, None]], None], secure: bool, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    data = pattern(3_000_001)

    async def script(connection: Connection, received: Received) -> None:
        await connection.reply(received.body[::-1] if received.method == "PUT" else data)

    async def main() -> None:
        async with serve(script, tls=tls if secure else None) as server:
            url = f"{'https' if secure else 'http'}://127.0.0.1:{server.port}/"
            wire = DirectWire(TransferSettings(), behind=Nobody(), ca_bundle=str(tmp_path / "ca.pem"))
            for _ in range(3):
                request = Request("PUT", url, body=[memoryview(data)[:100], memoryview(data)[100:]])
                assert (await wire.exchange(request, body_bytes_max=4 << 20)).body == data[::-1]
                sink = Collector(1 << 20)
                await wire.receive(Request("GET", url), judge=wants(len(data)), sink=sink)
                assert bytes(sink.data) == data
                await asyncio.sleep(0.01)
            assert server.connections == 1
            await wire.aclose()
            await eventually(lambda: server.open == 0)

    run(main())


@pytest.mark.parametrize("secure", [False, True])
async def test_a_cancelled_send_leaves_the_socket_closed_and_the_buffer_alone(secure: bool, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    seen = bytearray()
    reading = asyncio.Event()

    async def script(connection: Connection, received: Received) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := await connection.reader.read(100_000):
                seen.extend(data)
                reading.set()
                await asyncio.sleep(0.005)

    memory = bytearray(b"\x01" * (32 << 20))
    async with serve(script, tls=tls if secure else None, read_body=False) as server:
        url = f"{'https' if secure else 'http'}://127.0.0.1:{server.port}/"
        wire = DirectWire(TransferSettings(), behind=Nobody(), ca_bundle=str(tmp_path / "ca.pem"))
        async with asyncio.TaskGroup() as group:
            call = group.create_task(wire.exchange(Request("PUT", url, body=[memoryview(memory)])))
            await reading.wait()
            call.cancel()
        memory[:] = b"\x02" * len(memory)
        await eventually(lambda: server.open == 0)
        await wire.aclose()
    assert 0 < len(seen) < len(memory)
    assert b"\x02" not in seen


@pytest.mark.parametrize("start", [0, 1, 5_000_001])
@pytest.mark.parametrize("size", [1, 70_000, 6_000_000])
async def test_an_extent_of_a_file_arrives_as_its_very_bytes(tmp_path: Path, start: int, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(pattern(start + size + 100))

    async def script(connection: Connection, received: Received) -> None:
        await connection.reply()

    async with talk(script) as (wire, server):
        with path.open("rb") as file:
            for _ in range(2):
                await wire.exchange(Request("PUT", server.url, body=Extent(file.fileno(), start, size)))
    wanted = pattern(start + size + 100)[start : start + size]
    assert [received.body for received in server.requests] == [wanted, wanted]
    assert server.connections == 1


async def test_an_extent_that_a_tired_connection_swallowed_is_sent_again_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(pattern(300_000))

    async def script(connection: Connection, received: Received) -> None:
        if received.method == "GET" or server.connections > 1:
            await connection.reply()
        else:
            connection.writer.close()

    async with talk(script) as (wire, server):
        await wire.exchange(Request("GET", server.url))
        with path.open("rb") as file:
            await wire.exchange(Request("PUT", server.url, body=Extent(file.fileno(), 7, 299_000)))
    assert server.requests[-1].body == pattern(300_000)[7:299_007]


@pytest.mark.parametrize("left", [0, 5, 200_000])
async def test_a_file_that_ends_before_its_extent_is_an_error_at_once_and_the_connection_is_closed(
    tmp_path: Path, left: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(pattern(left))

    async def script(connection: Connection, received: Received) -> None:
        await connection.gone()

    async with talk(script, read_body=False) as (wire, server):
        with path.open("rb") as file, pytest.raises(IntegrityError, match=f"ends at byte {left}") as caught:
            await wire.exchange(Request("PUT", server.url, body=Extent(file.fileno(), 0, 1 << 20)))
        await eventually(lambda: server.open == 0)
    assert not caught.value.retryable


async def test_a_file_of_a_file_system_without_sendfile_is_read() -> None:
    """Such a one is our own memory, as Linux shows it."""
    data = pattern(3_000_000)
    memory = ctypes.create_string_buffer(data, len(data))

    async def script(connection: Connection, received: Received) -> None:
        await connection.reply()

    async with talk(script) as (wire, server):
        with Path("/proc/self/mem").open("rb", buffering=0) as file:
            await wire.exchange(
                Request("PUT", server.url, body=Extent(file.fileno(), ctypes.addressof(memory), len(data)))
            )
    assert server.requests[0].body == data


async def test_a_file_that_cannot_be_read_is_an_error_of_this_machine() -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.gone()

    async with talk(script, read_body=False) as (wire, server):
        with Path("/proc/self/mem").open("rb", buffering=0) as file, pytest.raises(LocalIOError):
            await wire.exchange(Request("PUT", server.url, body=Extent(file.fileno(), 0, 1 << 20)))


@pytest.mark.parametrize(
    ("url", "proxy", "sends"),
    [
        ("http://store/", None, True),
        ("https://store/", None, False),
        ("http://store/", "http://proxy:1", False),
    ],
)
def test_files_are_sent_only_where_their_bytes_are_those_of_the_socket(
    monkeypatch: pytest.MonkeyPatch, url: str, proxy: str | None, sends: bool
) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    if proxy is not None:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("http_proxy", proxy)
    assert DirectWire(FAST, behind=Nobody()).sends_files(url) is sends
