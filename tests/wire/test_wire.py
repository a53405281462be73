"""The contract of the wire, against a server that misbehaves. Every implementation runs all of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trustme
from msgspec.structs import replace

from bentosync.errors import IntegrityError, InvalidArgument, NetworkError, RemoteError
from bentosync.settings import TransferSettings
from bentosync.wire.direct import DirectWire
from bentosync.wire.exchange import Reply, Request, Wire
from bentosync.wire.pooled import PooledWire
from tests.servers.raw import Connection, RawServer, Received, Script, serve

Make = Callable[..., Wire]

FAST = TransferSettings(jobs=4, connect_seconds=1, stall_seconds=0.15)


def direct(transfer: TransferSettings, *, ca_bundle: str | None = None) -> Wire:
    """Straight from the socket, with the full client behind it."""
    return DirectWire(transfer, behind=PooledWire(transfer, ca_bundle=ca_bundle), ca_bundle=ca_bundle)


def native(transfer: TransferSettings, *, ca_bundle: str | None = None) -> Wire:
    """Over the compiled core, with the full client behind it."""
    module = pytest.importorskip("bentosync.wire.native")
    behind = PooledWire(transfer, ca_bundle=ca_bundle)
    wire: Wire = module.NativeWire(transfer, behind=behind, ca_bundle=ca_bundle)
    return wire


@pytest.fixture(params=[PooledWire, direct, native])
def make(request: pytest.FixtureRequest) -> Make:
    """One implementation of the contract."""
    implementation: Make = request.param
    return implementation


def pattern(size: int) -> bytes:
    """Bytes that differ from position to position."""
    return b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))[:size]


class Collector:
    """A sink that hands out one small buffer again and again, and notices writes after it was closed."""

    def __init__(self, buffer_bytes: int = 1000) -> None:
        self.memory = bytearray(buffer_bytes)
        self.data = bytearray()

    def buffer(self) -> memoryview:
        return memoryview(self.memory)

    def filled(self, count: int) -> None:
        assert 0 < count <= len(self.memory)
        self.data += self.memory[:count]


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until `holds`, at most 2 s."""
    async with asyncio.timeout(2):
        while not holds():
            await asyncio.sleep(0.005)


def wants(count: int | None) -> Callable[[Reply], int | None]:
    return lambda reply: count


@contextlib.asynccontextmanager
async def talk(make: Make, script: Script, **serving: object) -> AsyncIterator[tuple[Wire, RawServer]]:
    """A wire and a server that follows `script`."""
    async with serve(script, **serving) as server:  # type: ignore[arg-type]
        wire = make(FAST)
        try:
            yield wire, server
        finally:
            await wire.aclose()


async def test_exchange_returns_status_headers_and_body_as_sent(make: Make) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.reply(b"hello", status="418 Teapot", headers="X-Two: first\r\nX-TWO: last\r\n")

    async with talk(make, script) as (wire, server):
        reply = await wire.exchange(Request("GET", f"{server.url}/a%2Fb%20c?x=%2B"))
    assert (reply.status, reply.body, reply.headers["x-two"]) == (418, b"hello", "last")
    assert server.requests[0].target == "/a%2Fb%20c?x=%2B"
    assert server.requests[0].headers["accept-encoding"] == "identity"


async def test_a_body_of_buffers_arrives_in_order_with_its_length_and_unchunked(make: Make) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.reply()

    data = pattern(700_001)
    buffers = [memoryview(data)[:10], memoryview(data)[10:10], memoryview(data)[10:600_000], memoryview(data)[600_000:]]
    async with talk(make, script) as (wire, server):
        await wire.exchange(Request("PUT", server.url, body=buffers))
        await wire.exchange(Request("PUT", server.url, body=b"plain"))
        await wire.exchange(Request("PUT", server.url))
    bodies = [received.body for received in server.requests]
    assert bodies[0] == data
    assert bodies[1:] == [b"plain", b""]
    assert [received.headers["content-length"] for received in server.requests] == [str(len(body)) for body in bodies]
    assert "transfer-encoding" not in server.requests[0].headers


async def test_sending_buffers_makes_no_joined_copy(make: Make) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.gone()

    async with talk(make, script, read_body=False) as (wire, server):
        buffers = [memoryview(bytearray(4 << 20)) for _ in range(8)]
        tracemalloc.start()
        with pytest.raises(NetworkError):
            await wire.exchange(Request("PUT", server.url, body=[*buffers, memoryview(b"never sent")]))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 12 << 20


async def test_received_bytes_land_in_the_sink_in_order(make: Make) -> None:
    data = pattern(1_234_567)

    async def script(connection: Connection, received: Received) -> None:
        await connection.reply(data, status="206 Partial Content")

    sink = Collector()
    async with talk(make, script) as (wire, server):
        reply = await wire.receive(Request("GET", server.url), judge=wants(len(data)), sink=sink)
    assert (reply.status, reply.body) == (206, b"")
    assert bytes(sink.data) == data


async def test_a_chunked_body_of_the_right_length_is_accepted(make: Make) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"4\r\ndefg\r\n0\r\n\r\n"
        )

    sink = Collector()
    async with talk(make, script) as (wire, server):
        await wire.receive(Request("GET", server.url), judge=wants(7), sink=sink)
        await wire.receive(Request("GET", server.url), judge=wants(7), sink=sink)
    assert bytes(sink.data) == b"abcdefgabcdefg"
    # The native wire gives a reply that is not plain up, and its host to the client behind it for good.
    assert server.connections == (2 if make is native else 1)


async def test_a_refused_reply_is_collected_and_the_sink_stays_empty(make: Make) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.reply(b"<Error/>", status="503 Slow Down")

    sink = Collector()
    async with talk(make, script) as (wire, server):
        reply = await wire.receive(Request("GET", server.url), judge=wants(None), sink=sink)
        await wire.receive(Request("GET", server.url), judge=wants(None), sink=sink)
    assert (reply.status, reply.body, bytes(sink.data)) == (503, b"<Error/>", b"")
    assert server.connections == 1


@pytest.mark.parametrize("kept", [1, 999, 1000, 64_000, 99_999])
async def test_a_body_that_ends_early_raises_after_everything_that_came_was_given(make: Make, kept: int) -> None:
    data = pattern(100_000)

    async def script(connection: Connection, received: Received) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + data[:kept])
        connection.writer.close()

    sink = Collector()
    async with talk(make, script) as (wire, server):
        with pytest.raises(NetworkError) as caught:
            await wire.receive(Request("GET", server.url), judge=wants(len(data)), sink=sink)
    assert bytes(sink.data) == data[:kept]
    assert caught.value.retryable


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_a_body_shorter_than_the_judge_wants_raises(make: Make, head: bytes) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.send(head + b"short")
        connection.writer.close()

    sink = Collector()
    async with talk(make, script) as (wire, server):
        with pytest.raises(NetworkError):
            await wire.receive(Request("GET", server.url), judge=wants(10), sink=sink)
    assert bytes(sink.data) == b"short"


async def test_a_body_longer_than_the_judge_wants_is_cut_and_its_connection_closed(make: Make) -> None:
    closed = asyncio.Event()

    async def script(connection: Connection, received: Received) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789")
        await connection.gone()
        closed.set()

    sink = Collector()
    async with talk(make, script) as (wire, server):
        with pytest.raises(RemoteError):
            await wire.receive(Request("GET", server.url), judge=wants(4), sink=sink)
        await asyncio.wait_for(closed.wait(), 2)
    assert bytes(sink.data) == b"0123"


async def test_compressed_bytes_are_not_decompressed(make: Make) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.reply(b"\x1f\x8bnot really gzip", headers="Content-Encoding: gzip\r\n")

    async with talk(make, script) as (wire, server):
        reply = await wire.exchange(Request("GET", server.url))
    assert reply.body == b"\x1f\x8bnot really gzip"


async def test_redirects_are_replies_and_never_followed(make: Make) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.reply(status="301 Moved", headers="Location: http://127.0.0.1:1/\r\n")

    async with talk(make, script) as (wire, server):
        assert (await wire.exchange(Request("GET", server.url))).status == 301
    assert len(server.requests) == 1


async def test_interim_replies_are_skipped(make: Make) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 3)
        await connection.reply(b"final")

    async with talk(make, script) as (wire, server):
        assert (await wire.exchange(Request("GET", server.url))).body == b"final"


async def test_a_flood_of_interim_replies_ends(make: Make) -> None:
    async def script(connection: Connection, received: Received) -> None:
        while True:
            await connection.send(b"HTTP/1.1 102 Processing\r\n\r\n")
            await asyncio.sleep(0.01)

    async with talk(make, script) as (wire, server):
        with pytest.raises(NetworkError):
            await wire.exchange(Request("GET", server.url))


@pytest.mark.parametrize("body", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome"])
async def test_silence_is_a_retryable_error(make: Make, body: bytes) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.send(body)
        await connection.gone()

    async with talk(make, script) as (wire, server):
        with pytest.raises(NetworkError) as caught:
            await wire.exchange(Request("GET", server.url))
    assert caught.value.retryable
    assert "127.0.0.1" in caught.value.message


async def test_a_request_may_allow_a_longer_silence(make: Make) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await asyncio.sleep(0.2)
        await connection.reply(b"late")

    async with talk(make, script) as (wire, server):
        reply = await wire.exchange(Request("POST", server.url, body=b"slow work", reply_seconds=5))
    assert reply.body == b"late"


async def test_a_server_that_stops_reading_the_body_is_noticed(make: Make) -> None:
    async def script(connection: Connection, received: Received) -> None:
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(5)

    async with talk(make, script, read_body=False) as (wire, server):
        with pytest.raises(NetworkError):
            await wire.exchange(Request("PUT", server.url, body=[memoryview(bytearray(32 << 20))]))


async def test_a_slow_line_is_not_silence(make: Make) -> None:
    """The kernel takes megabytes of the body at once; while it still delivers them no reply is overdue."""
    size = 4 << 20

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
    async with await asyncio.start_server(read_slowly, sock=listening):
        wire = make(replace(FAST, stall_seconds=0.5))
        try:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
            reply = await wire.exchange(Request("PUT", url, body=[memoryview(pattern(size))]))
        finally:
            await wire.aclose()
    assert reply.body == b"all of it"


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome"])
async def test_a_reset_connection_is_a_network_error(make: Make, head: bytes) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.send(head)
        connection.reset()

    async with talk(make, script) as (wire, server):
        with pytest.raises(NetworkError) as caught:
            await wire.exchange(Request("POST", server.url, body=b"x"))
    assert caught.value.retryable


@pytest.mark.parametrize(
    "garbage", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * (1 << 20) + b"\r\n\r\n"]
)
async def test_a_head_that_is_not_http_or_has_no_end_is_a_remote_error(make: Make, garbage: bytes) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.send(garbage)

    async with talk(make, script) as (wire, server):
        with pytest.raises(RemoteError):
            await wire.exchange(Request("GET", server.url))


async def test_a_reply_longer_than_allowed_is_refused(make: Make) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.reply(bytes(2000))

    async with talk(make, script) as (wire, server):
        with pytest.raises(RemoteError):
            await wire.exchange(Request("GET", server.url), body_bytes_max=1999)
        assert len((await wire.exchange(Request("GET", server.url), body_bytes_max=2000)).body) == 2000


async def test_a_refused_port_and_an_unknown_name_are_network_errors_that_name_the_host(make: Make) -> None:
    async with serve(lambda connection, received: connection.reply()) as server:
        closed = server.url
    wire = make(FAST)
    with pytest.raises(NetworkError, match=r"127\.0\.0\.1:\d+: Connection refused$"):
        await wire.exchange(Request("GET", closed))
    with pytest.raises(NetworkError, match=r"no-such-host\.invalid"):
        await wire.exchange(Request("GET", "http://no-such-host.invalid/secret?X-Amz-Signature=1"))
    await wire.aclose()


async def test_what_a_sink_or_a_judge_raises_comes_through_and_closes_the_connection(make: Make) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + pattern(3000))
        await connection.gone()

    class Refusing(Collector):
        def filled(self, count: int) -> None:
            raise OSError("the disk is full")

    def refuse(reply: Reply) -> int | None:
        raise IntegrityError("not the object that was asked for")

    async with talk(make, script) as (wire, server):
        with pytest.raises(OSError, match="disk is full"):
            await wire.receive(Request("GET", server.url), judge=wants(5000), sink=Refusing())
        with pytest.raises(IntegrityError):
            await wire.receive(Request("GET", server.url), judge=refuse, sink=Collector())
        await eventually(lambda: server.open == 0)
    assert server.connections == 2


async def test_after_a_cancelled_receive_nothing_touches_the_buffer_and_the_socket_is_closed(make: Make) -> None:
    closed = asyncio.Event()
    started = asyncio.Event()

    async def script(connection: Connection, received: Received) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                await connection.send(b"\xaa" * 10_000)
                started.set()
                await asyncio.sleep(0.001)
        closed.set()

    sink = Collector()
    async with talk(make, script) as (wire, server):
        async with asyncio.TaskGroup() as group:
            call = group.create_task(wire.receive(Request("GET", server.url), judge=wants(100_000_000), sink=sink))
            await started.wait()
            await asyncio.sleep(0.02)
            call.cancel()
        sink.memory[:] = pattern(len(sink.memory))
        await asyncio.wait_for(closed.wait(), 2)
    assert call.cancelled()
    assert bytes(sink.memory) == pattern(len(sink.memory))


async def test_after_a_cancelled_send_the_server_never_sees_what_the_buffer_holds_later(make: Make) -> None:
    seen = bytearray()
    reading = asyncio.Event()
    done = asyncio.Event()

    async def script(connection: Connection, received: Received) -> None:
        seen.extend(await connection.reader.read(100_000))
        reading.set()
        await asyncio.sleep(0.1)
        with contextlib.suppress(ConnectionError):
            while data := await connection.reader.read(1 << 20):
                seen.extend(data)
        done.set()

    body = bytearray(b"\x01" * (32 << 20))
    async with talk(make, script, read_body=False) as (wire, server):
        async with asyncio.TaskGroup() as group:
            call = group.create_task(wire.exchange(Request("PUT", server.url, body=[memoryview(body)])))
            await reading.wait()
            call.cancel()
        body[:] = b"\x02" * len(body)
        await asyncio.wait_for(done.wait(), 2)
    assert 0 < len(seen) < len(body)
    assert b"\x02" not in seen


async def test_a_reply_before_the_whole_body_was_sent_is_returned(make: Make) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.reply(b"<Error/>", status="403 Forbidden")
        await connection.gone()

    async with talk(make, script, read_body=False) as (wire, server):
        reply = await wire.exchange(Request("PUT", server.url, body=[memoryview(bytearray(16 << 20))]))
    assert reply.status == 403


async def test_connections_are_reused_one_after_the_other_and_multiplied_when_in_use(make: Make) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await asyncio.sleep(0.02)
        await connection.reply(b"x")

    async with talk(make, script) as (wire, server):
        for _ in range(3):
            await wire.exchange(Request("GET", server.url))
        assert server.connections == 1
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(wire.exchange(Request("GET", server.url)))
        assert server.connections == 4


async def test_a_pooled_connection_that_the_server_closed_costs_no_error(make: Make) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.reply(b"x")
        connection.writer.close()

    async with talk(make, script) as (wire, server):
        for _ in range(5):
            assert (await wire.exchange(Request("GET", server.url))).body == b"x"


async def test_closing_twice_is_fine(make: Make) -> None:
    async with talk(make, lambda connection, received: connection.reply(b"x")) as (wire, server):
        await wire.exchange(Request("GET", server.url))
        await wire.aclose()
        await wire.aclose()


async def test_tls_needs_an_authority_that_is_trusted(make: Make, tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    stranger.cert_pem.write_to_path(tmp_path / "other.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    data = pattern(300_000)
    async with serve(lambda connection, received: connection.reply(data), tls=tls) as server:
        url = f"https://127.0.0.1:{server.port}/"
        trusting = make(FAST, ca_bundle=str(tmp_path / "ca.pem"))
        sink = Collector()
        await trusting.receive(Request("GET", url), judge=wants(len(data)), sink=sink)
        await trusting.aclose()
        assert bytes(sink.data) == data
        for bundle in (None, str(tmp_path / "other.pem")):
            wary = make(FAST, ca_bundle=bundle)
            with pytest.raises(NetworkError, match="not trusted") as caught:
                await wary.exchange(Request("GET", url))
            assert not caught.value.retryable
            assert "ca_bundle" in (caught.value.hint or "")
            await wary.aclose()


async def test_a_certificate_for_another_host_is_refused(make: Make, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(tls)
    async with serve(lambda connection, received: connection.reply(), tls=tls) as server:
        wire = make(FAST, ca_bundle=str(tmp_path / "ca.pem"))
        with pytest.raises(NetworkError, match="not trusted"):
            await wire.exchange(Request("GET", f"https://127.0.0.1:{server.port}/"))
        await wire.aclose()


async def test_an_unreadable_ca_bundle_is_an_error_of_the_caller(make: Make, tmp_path: Path) -> None:
    wire = make(FAST, ca_bundle=str(tmp_path / "missing.pem"))
    with pytest.raises(InvalidArgument, match=r"missing\.pem"):
        await wire.exchange(Request("GET", "https://127.0.0.1:1/"))


async def test_proxies_come_from_the_environment_and_no_proxy_is_honoured(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talk(make, lambda connection, received: connection.reply(b"by proxy")) as (wire, server):
        monkeypatch.setenv("http_proxy", f"http://ann:s%20x@127.0.0.1:{server.port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        await wire.exchange(Request("GET", f"{server.url}/direct"))
        await wire.exchange(Request("GET", "http://bucket.example/key"))
    assert [received.target for received in server.requests] == ["/direct", "http://bucket.example/key"]
    assert "proxy-authorization" not in server.requests[0].headers
    assert server.requests[1].headers["proxy-authorization"] == "Basic YW5uOnMgeA=="


async def test_a_reply_that_cannot_be_the_one_to_its_request_costs_the_connection(make: Make) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.reply(headers="X-For: another\r\n")

    def refuse(reply: Reply) -> None:
        raise RemoteError(reply.headers["x-for"])

    async with talk(make, script) as (wire, server):
        for _ in range(2):
            with pytest.raises(RemoteError, match="another"):
                await wire.exchange(Request("PUT", server.url, body=b"x", check=refuse))
            await eventually(lambda: server.open == 0)
        assert server.connections == 2
