"""Long bodies over TLS: what holds for the compiled core holds for the wire in Python, its twin."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trustme

from bentosync.errors import IntegrityError, NetworkError, RemoteError
from bentosync.settings import TransferSettings
from bentosync.wire.direct import DirectWire
from bentosync.wire.exchange import Reply, Request, Wire
from tests.servers.raw import Connection, RawServer, Received, Script, serve
from tests.wire.test_wire import eventually, pattern

FAST = TransferSettings(jobs=4, connect_seconds=1, stall_seconds=0.15)
PATIENT = TransferSettings(jobs=4, connect_seconds=1, stall_seconds=5)
LONG = 16 << 20

Make = Callable[..., Wire]
Talk = Callable[..., contextlib.AbstractAsyncContextManager[tuple[Wire, RawServer]]]


class Behind:
    """The client behind: counts what it is given."""

    def __init__(self) -> None:
        self.given: list[Request] = []

    async def exchange(self, request: Request, *, body_bytes_max: int = 0) -> Reply:
        self.given.append(request)
        return Reply(299, {})

    async def receive(self, request: Request, **_: object) -> Reply:
        raise AssertionError("nothing is received here")

    async def aclose(self) -> None:
        return


def direct(transfer: TransferSettings, ca_bundle: str, behind: Behind | None = None) -> Wire:
    return DirectWire(transfer, behind=behind or Behind(), ca_bundle=ca_bundle)  # type: ignore[arg-type]


def native(transfer: TransferSettings, ca_bundle: str, behind: Behind | None = None) -> Wire:
    module = pytest.importorskip("bentosync.wire.native")
    wire: Wire = module.NativeWire(transfer, behind=behind or Behind(), ca_bundle=ca_bundle, threads=2)
    return wire


@pytest.fixture(params=[direct, native])
def make(request: pytest.FixtureRequest) -> Make:
    implementation: Make = request.param
    return implementation


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    """What a server needs to be 127.0.0.1, and the authority's file."""
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority = trustme.CA()
    authority.cert_pem.write_to_path(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context, str(path)


@pytest.fixture
def talk(make: Make, tls: tuple[ssl.SSLContext, str]) -> Talk:
    @contextlib.asynccontextmanager
    async def talking(
        script: Script, transfer: TransferSettings = FAST, *, read_body: bool = True
    ) -> AsyncIterator[tuple[Wire, RawServer]]:
        async with serve(script, tls=tls[0], read_body=read_body) as server:
            wire = make(transfer, tls[1])
            try:
                yield wire, server
            finally:
                await wire.aclose()

    return talking


def put(server: RawServer, *pieces: bytes | memoryview, target: str = "/", **more: object) -> Request:
    url = f"https://127.0.0.1:{server.port}{target}"
    return Request("PUT", url, body=[memoryview(piece) for piece in pieces], **more)  # type: ignore[arg-type]


async def test_pieces_arrive_whole_and_in_order_over_one_connection_again_and_again(talk: Talk) -> None:
    data = pattern(5_000_003)

    async def script(connection: Connection, received: Received) -> None:
        assert received.body == data
        await connection.reply(b"stored", headers="ETag: x\r\n")

    async with talk(script, PATIENT) as (wire, server):
        for _ in range(3):
            reply = await wire.exchange(put(server, data[:100], data[100:1000], b"", data[1000:]))
            assert (reply.status, reply.headers["etag"], reply.body) == (200, "x", b"stored")
        assert server.connections == 1
        assert [request.headers["content-length"] for request in server.requests] == [str(len(data))] * 3


async def test_many_bodies_are_sent_side_by_side(talk: Talk) -> None:
    data = [bytes([number]) * (2_000_000 + number) for number in range(6)]

    async def script(connection: Connection, received: Received) -> None:
        assert received.body == data[int(received.target[1:])]
        await connection.reply(received.target.encode())

    async with talk(script, PATIENT) as (wire, server):
        replies = await asyncio.gather(
            *(wire.exchange(put(server, data[number], target=f"/{number}")) for number in range(6))
        )
        assert [reply.body for reply in replies] == [b"/%d" % number for number in range(6)]


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone", 1),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ndo\r\n2\r\nne\r\n0\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ndone", 2),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndoneunasked", 2),
    ],
)
async def test_a_reply_may_be_framed_in_any_way_and_come_in_pieces(talk: Talk, answer: bytes, connections: int) -> None:
    async def script(connection: Connection, received: Received) -> None:
        for begin in range(0, len(answer), 7):
            await connection.send(answer[begin : begin + 7])
            await asyncio.sleep(0)
        if connections > 1:
            await connection.gone()

    async with talk(script, PATIENT) as (wire, server):
        for _ in range(2):
            assert (await wire.exchange(put(server, bytes(1 << 20)))).body == b"done"
        assert server.connections == connections


async def test_a_reply_that_ends_with_its_connection_is_whole(talk: Talk) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\n\r\ndone")
        connection.writer.close()

    async with talk(script) as (wire, server):
        assert (await wire.exchange(put(server, bytes(1 << 20)))).body == b"done"


@pytest.mark.parametrize("hangs_up", [False, True])
async def test_a_reply_before_the_body_was_read_counts_and_costs_the_connection(talk: Talk, hangs_up: bool) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.reply(b"<Error/>", status="503 Slow Down")
        if hangs_up:
            connection.writer.close()
        await connection.gone()

    async with talk(script, read_body=False) as (wire, server):
        for _ in range(3):
            reply = await wire.exchange(put(server, bytes(LONG)))
            assert (reply.status, reply.body) == (503, b"<Error/>")
        assert server.connections == 3
        await eventually(lambda: server.open == 0)


async def test_an_interim_reply_in_the_middle_of_a_body_does_not_end_it(talk: Talk) -> None:
    data = pattern(LONG)

    async def script(connection: Connection, received: Received) -> None:
        await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await connection.reader.readexactly(LONG) == data
        await connection.reply(b"all")

    async with talk(script, PATIENT, read_body=False) as (wire, server):
        assert (await wire.exchange(put(server, data))).body == b"all"
        assert (await wire.exchange(put(server, data))).body == b"all"
        assert server.connections == 1


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_server_that_hangs_up_without_a_word_is_a_retryable_error(talk: Talk, how: str) -> None:
    async def script(connection: Connection, received: Received) -> None:
        connection.reset() if how == "reset" else connection.writer.close()

    async with talk(script, read_body=False) as (wire, server):
        with pytest.raises(NetworkError) as caught:
            await wire.exchange(put(server, bytes(LONG)))
        await eventually(lambda: server.open == 0)
    assert caught.value.retryable


async def test_a_reply_that_is_cut_short_is_a_network_error(talk: Talk) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
        connection.writer.close()

    async with talk(script) as (wire, server):
        with pytest.raises(NetworkError, match="ended 96 bytes early"):
            await wire.exchange(put(server, bytes(1 << 20)))


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000])
async def test_what_is_no_reply_or_has_no_end_is_a_remote_error(talk: Talk, answer: bytes) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.send(answer)
        await connection.gone()

    async with talk(script) as (wire, server):
        with pytest.raises(RemoteError):
            await wire.exchange(put(server, bytes(1 << 20)))
        await eventually(lambda: server.open == 0)


async def test_a_reply_longer_than_allowed_is_refused(talk: Talk) -> None:
    async with talk(lambda connection, received: connection.reply(bytes(1001))) as (wire, server):
        with pytest.raises(RemoteError, match="longer than 1000"):
            await wire.exchange(put(server, bytes(1 << 20)), body_bytes_max=1000)


async def test_a_reply_that_cannot_be_the_one_to_its_request_costs_the_connection(talk: Talk) -> None:
    def doubt(reply: Reply) -> None:
        raise IntegrityError("another checksum")

    async with talk(lambda connection, received: connection.reply()) as (wire, server):
        with pytest.raises(IntegrityError):
            await wire.exchange(put(server, bytes(1 << 20), check=doubt))
        await eventually(lambda: server.open == 0)
        await wire.exchange(put(server, bytes(1 << 20)))
        assert server.connections == 2


async def test_a_server_that_stops_reading_or_answering_is_noticed(talk: Talk) -> None:
    async def script(connection: Connection, received: Received) -> None:
        if received.target == "/unread":
            connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await connection.gone()

    async with talk(script, read_body=False) as (wire, server):
        for target, size in (("/unread", 32 << 20), ("/unanswered", 1 << 20)):
            with pytest.raises(NetworkError, match="too long"):
                await wire.exchange(put(server, bytes(size), target=target))


async def test_a_reply_may_take_longer_than_a_body_may_stall(talk: Talk) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await asyncio.sleep(0.2)
        await connection.reply(b"late")

    async with talk(script, TransferSettings(jobs=4, connect_seconds=1, stall_seconds=0.1)) as (wire, server):
        assert (await wire.exchange(put(server, bytes(1 << 20), reply_seconds=5))).body == b"late"


async def test_a_slow_line_is_not_silence(make: Make, tls: tuple[ssl.SSLContext, str]) -> None:
    """The kernel takes megabytes of the body at once; while it still delivers them no reply is overdue."""
    size = 3 << 20

    async def read_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        left = size
        while left:
            left -= len(await reader.read(min(left, 64 << 10)))
            await asyncio.sleep(0.02)
        await Connection(reader, writer).reply(b"all of it")
        writer.close()

    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 << 10)  # what it holds is not on the line any more
    async with await asyncio.start_server(read_slowly, sock=listening, ssl=tls[0]):
        wire = make(TransferSettings(jobs=4, connect_seconds=1, stall_seconds=0.5), tls[1])
        try:
            url = f"https://127.0.0.1:{listening.getsockname()[1]}/"
            reply = await wire.exchange(Request("PUT", url, body=[memoryview(pattern(size))]))
        finally:
            await wire.aclose()
    assert reply.body == b"all of it"


async def test_what_a_tired_connection_swallowed_is_sent_again(talk: Talk) -> None:
    seen: list[str] = []

    async def script(connection: Connection, received: Received) -> None:
        seen.append(received.target)
        if seen == ["/first", "/second"]:
            connection.writer.close()
        else:
            await connection.reply()

    async with talk(script) as (wire, server):
        await wire.exchange(put(server, bytes(1 << 20), target="/first"))
        await wire.exchange(put(server, bytes(1 << 20), target="/second"))
        assert server.connections == 2
    assert seen == ["/first", "/second", "/second"]


async def test_after_a_cancelled_send_the_server_never_sees_what_the_buffer_holds_later(talk: Talk) -> None:
    seen = bytearray()
    reading = asyncio.Event()

    async def script(connection: Connection, received: Received) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := await connection.reader.read(100_000):
                seen.extend(data)
                reading.set()
                await asyncio.sleep(0.005)

    memory = bytearray(b"\x01" * (32 << 20))
    view = memoryview(memory)
    async with talk(script, read_body=False) as (wire, server):
        async with asyncio.TaskGroup() as group:
            call = group.create_task(wire.exchange(put(server, view)))
            await reading.wait()
            call.cancel()
        memory[:] = b"\x02" * len(memory)
        view.release()  # nobody holds it
        await eventually(lambda: server.open == 0)
    assert call.cancelled()
    assert 0 < len(seen) < len(memory)
    assert b"\x02" not in seen


async def test_closing_ends_what_is_being_sent_and_lets_go_of_it(talk: Talk) -> None:
    begun = asyncio.Event()

    async def script(connection: Connection, received: Received) -> None:
        begun.set()
        await asyncio.sleep(5)

    async def refused(wire: Wire, request: Request) -> None:
        with pytest.raises(NetworkError):
            await wire.exchange(request)

    view = memoryview(bytearray(32 << 20))
    async with (
        talk(script, PATIENT, read_body=False) as (wire, server),
        asyncio.timeout(2),
        asyncio.TaskGroup() as group,
    ):
        group.create_task(refused(wire, put(server, view)))
        await begun.wait()
        await wire.aclose()
    view.release()  # nobody holds it


async def test_nothing_is_sent_to_who_is_not_trusted(
    make: Make, tmp_path: Path, tls: tuple[ssl.SSLContext, str]
) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "stranger.pem")
    async with serve(lambda connection, received: connection.reply(), tls=tls[0]) as server:
        wire = make(FAST, str(tmp_path / "stranger.pem"))
        with pytest.raises(NetworkError, match="not trusted") as caught:
            await wire.exchange(put(server, bytes(1 << 20)))
        await wire.aclose()
    assert not caught.value.retryable
    assert not server.requests


@pytest.mark.parametrize(
    ("url", "method", "body"),
    [
        ("https://127.0.0.1:1/", "PUT", [memoryview(bytes((1 << 20) - 1))]),
        ("https://127.0.0.1:1/", "PUT", b"x" * (1 << 20)),
        ("https://127.0.0.1:1/", "POST", [memoryview(bytes(1 << 20))]),
        ("http://127.0.0.1:1/", "PUT", [memoryview(bytes(1 << 20))]),
    ],
)
async def test_the_core_leaves_short_bodies_other_methods_and_http_to_the_client_behind(
    url: str, method: str, body: bytes | list[memoryview], tls: tuple[ssl.SSLContext, str]
) -> None:
    behind = Behind()
    wire = native(FAST, tls[1], behind)
    request = Request(method, url, body=body)
    assert (await wire.exchange(request)).status == 299
    await wire.aclose()
    assert behind.given == [request]


async def test_the_core_leaves_what_must_go_through_a_proxy_to_the_client_behind(
    monkeypatch: pytest.MonkeyPatch, tls: tuple[ssl.SSLContext, str]
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    behind = Behind()
    wire = native(FAST, tls[1], behind)
    request = Request("PUT", "https://store.example/", body=[memoryview(bytes(1 << 20))])
    assert (await wire.exchange(request)).status == 299
    await wire.aclose()
    assert behind.given == [request]
