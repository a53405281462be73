"""Many short exchanges at once: every reply finds its request, and whatever goes wrong costs one result.

On the event loop and in the compiled core alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest
import trustme

from bentosync.native import volleys
from bentosync.wire.core_lanes import Core
from bentosync.wire.direct import DirectWire
from bentosync.wire.exchange import Pattern, Request, Shot
from bentosync.wire.volley import Volley
from tests.servers.raw import Connection, RawServer, Received, Script, serve
from tests.wire.test_direct import FAST, Nobody
from tests.wire.test_wire import eventually

Talk: TypeAlias = Callable[..., contextlib.AbstractAsyncContextManager[tuple[DirectWire, RawServer]]]


@pytest.fixture(params=["loop", "core"])
def core(request: pytest.FixtureRequest) -> Core | None:
    """None: the lanes are on the event loop."""
    if request.param == "loop":
        return None
    compiled = volleys.volley()
    if compiled is None:
        pytest.skip("there is no compiled core that sends volleys")
    return compiled


@pytest.fixture
def talk(core: Core | None) -> Talk:
    @contextlib.asynccontextmanager
    async def talk(script: Script, **serving: object) -> AsyncIterator[tuple[DirectWire, RawServer]]:
        async with serve(script, **serving) as server:  # type: ignore[arg-type]
            wire = DirectWire(FAST, behind=Nobody(), core=core)  # type: ignore[arg-type]
            try:
                yield wire, server
            finally:
                await wire.aclose()

    return talk


def puts(count: int) -> list[Shot]:
    return [Shot(f"/{number}", [str(number)], memoryview(b"%d" % number)) for number in range(count)]


def sent(wire: DirectWire, url: str, shots: Sequence[Shot], *, connections: int) -> Awaitable[Sequence[bool]]:
    pattern = Pattern("PUT", url, {"X-Shared": "100% the same"}, ["x-own"])
    return wire.exchange_all(pattern, shots, connections=connections)


async def echo(connection: Connection, received: Received) -> None:
    await connection.reply(headers=f"X-Own: {received.headers['x-own']}\r\n")


def all_but(number: int, count: int) -> list[bool]:
    return [index != number for index in range(count)]


async def test_every_request_is_sent_once_over_few_connections_that_rest_afterwards(talk: Talk) -> None:
    async with talk(echo) as (wire, server):
        for _ in range(2):
            assert await sent(wire, server.url, puts(50), connections=4) == [True] * 50
        asked = Request("GET", f"{server.url}/again", {"X-Own": "a"})
        assert (await wire.exchange(asked)).headers["x-own"] == "a"
        assert server.connections == 4
    first = sorted(server.requests[:50], key=lambda received: int(received.body))
    assert [received.target for received in first] == [f"/{number}" for number in range(50)]
    assert [received.headers["x-own"] for received in first] == [str(number) for number in range(50)]
    assert {received.headers["x-shared"] for received in first} == {"100% the same"}


async def test_bodies_that_the_kernel_has_no_room_for_at_once_arrive_whole(talk: Talk) -> None:
    async def script(connection: Connection, received: Received) -> None:
        assert received.body == received.target[1:2].encode() * (8 << 20)
        await echo(connection, received)

    shots = [Shot(f"/{number}", [str(number)], memoryview(b"%d" % number * (8 << 20))) for number in range(3)]
    async with talk(script) as (wire, server):
        assert await sent(wire, server.url, shots, connections=2) == [True] * 3


async def test_under_tls_too(core: Core | None, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    bundle = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(bundle)
    async with serve(echo, tls=context) as server:
        wire = DirectWire(FAST, behind=Nobody(), ca_bundle=bundle, core=core)  # type: ignore[arg-type]
        shots = [Shot(f"/{number}", [str(number)], memoryview(bytes(9000))) for number in range(20)]
        try:
            assert await sent(wire, server.url.replace("http:", "https:"), shots, connections=3) == [True] * 20
        finally:
            await wire.aclose()


async def test_a_server_that_closes_each_connection_after_some_replies_answers_all(talk: Talk) -> None:
    async def script(connection: Connection, received: Received) -> None:
        connection.asked = getattr(connection, "asked", 0) + 1  # type: ignore[attr-defined]
        last = connection.asked == 3  # type: ignore[attr-defined]
        await connection.reply(received.target[1:].encode(), headers="Connection: close\r\n" if last else "")
        if last:
            connection.writer.close()

    async with talk(script) as (wire, server):
        assert await sent(wire, server.url, puts(20), connections=2) == [True] * 20
    assert [received.target for received in server.requests].count("/7") == 1


@pytest.mark.parametrize("fault", ["garbage", "reset", "silence", "half", "another's", "endless"])
async def test_a_fault_costs_the_result_it_met_and_nothing_is_sent_twice(talk: Talk, fault: str) -> None:
    async def script(connection: Connection, received: Received) -> None:
        if received.target != "/5":
            await echo(connection, received)
        elif fault == "garbage":
            await connection.send(b"nonsense\r\n\r\n")
        elif fault == "reset":
            connection.reset()
        elif fault == "half":
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal")
            connection.writer.close()
        elif fault == "another's":
            await connection.reply(headers="X-Own: 6\r\n")
        elif fault == "endless":
            with contextlib.suppress(ConnectionError):
                await connection.send(b"HTTP/1.1 200 OK\r\nX-Long: ", *[bytes(1 << 16).replace(b"\0", b"x")] * 4)
        else:
            await connection.gone()

    async with talk(script) as (wire, server):
        results = await sent(wire, server.url, puts(12), connections=2)
        await eventually(lambda: server.open <= 2)
    assert results == all_but(5, 12)
    targets = [received.target for received in server.requests]
    assert sorted(targets) == sorted(f"/{number}" for number in range(12))


@pytest.mark.parametrize("status", ["503 Slow Down", "301 Moved Permanently", "412 Precondition Failed"])
async def test_a_refusal_is_no_success_and_its_connection_goes_on(talk: Talk, status: str) -> None:
    async def script(connection: Connection, received: Received) -> None:
        if received.target == "/2":
            await connection.reply(b"<Error/>", status=status)
        else:
            await echo(connection, received)

    async with talk(script) as (wire, server):
        assert await sent(wire, server.url, puts(6), connections=1) == all_but(2, 6)
        assert server.connections == 1


async def test_an_answer_before_the_body_was_taken_counts_and_ends_the_connection(talk: Talk) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.reply(status="503 Slow Down")
        await asyncio.sleep(0.1)
        connection.reset()

    body = memoryview(bytes(64 << 20))
    async with talk(script, read_body=False) as (wire, server):
        assert await sent(wire, server.url, [Shot("/a", ["a"], body)] * 2, connections=1) == [False] * 2
        assert [received.target for received in server.requests] == ["/a"] * 2


async def test_replies_that_the_core_does_not_understand_are_read_by_its_twin(talk: Talk) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")

    async with talk(script) as (wire, server):
        results = await sent(wire, server.url, puts(20), connections=2)
    assert results in ([True] * 20, [False] * 2 + [True] * 18)
    assert len(server.requests) == 20


async def test_where_the_core_finds_no_descriptors_its_twin_goes_on() -> None:
    def exhausted(*arguments: object) -> tuple[bytes, bytes]:
        raise OSError(errno.EMFILE, "Too many open files")

    async with serve(echo) as server:
        wire = DirectWire(FAST, behind=Nobody(), core=exhausted)  # type: ignore[arg-type]
        assert await sent(wire, server.url, puts(9), connections=2) == [True] * 9
        await wire.aclose()
    assert len(server.requests) == 9


async def test_without_a_server_nothing_succeeds(core: Core | None) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        wire = DirectWire(FAST, behind=Nobody(), core=core)  # type: ignore[arg-type]
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert await sent(wire, url, puts(3), connections=2) == [False] * 3
        assert await sent(wire, url, [], connections=2) == []
        await wire.aclose()


async def test_cancelling_closes_the_connections_under_way_and_nothing_else_stays_open(talk: Talk) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.gone()

    async with talk(script) as (wire, server):
        task = asyncio.create_task(asyncio.wait_for(sent(wire, server.url, puts(8), connections=3), 60))
        await eventually(lambda: len(server.requests) == 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: server.open == 0)
    assert len(server.requests) == 3


async def test_a_wire_that_is_closed_meanwhile_takes_no_socket_of_others_along(talk: Talk) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.gone()

    async with talk(script) as (wire, server):
        task = asyncio.ensure_future(sent(wire, server.url, puts(4), connections=2))
        await eventually(lambda: len(server.requests) == 2)
        await wire.aclose()
        assert await task == [False] * 4


async def test_descriptors_are_given_back(talk: Talk) -> None:
    def open_now() -> int:
        return len(os.listdir("/proc/self/fd"))

    async with talk(echo) as (wire, server):
        assert all(await sent(wire, server.url, puts(8), connections=2))
        gc.collect()
        before = open_now()
        for _ in range(5):
            assert all(await sent(wire, server.url, puts(8), connections=2))
        assert open_now() == before


def test_what_a_volley_says_of_itself_holds_no_secret() -> None:
    pattern = Pattern("PUT", "http://host", {"X-Token": "secret"}, ["x-own", "Authorization"])
    shots = [Shot("/a", ["a", "secret"], memoryview(b"body"))]
    said = repr((pattern, shots, Volley.of("host", pattern, shots)))
    assert said == "(Pattern(PUT http://host), [Shot('/a')], Volley(1 requests to host))"


async def test_a_value_with_a_line_break_is_refused_before_anything_is_sent(talk: Talk) -> None:
    async with talk(echo) as (wire, server):
        for shot in (Shot("/a", ["a\r\nX-More: b"], memoryview(b"")), Shot("/a b\n", ["a"], memoryview(b""))):
            with pytest.raises(ValueError, match="line break"):
                await sent(wire, server.url, [shot], connections=1)
        assert server.connections == 0
