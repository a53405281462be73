"""Many short exchanges at once: every reply finds its request, and whatever goes wrong costs one reply."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from bentosync.errors import RemoteError
from bentosync.wire.direct import DirectWire
from bentosync.wire.exchange import Reply, Request
from tests.servers.raw import Connection, RawServer, Received, Script, serve
from tests.wire.test_direct import FAST, Nobody
from tests.wire.test_wire import eventually


@contextlib.asynccontextmanager
async def talk(script: Script, **serving: object) -> AsyncIterator[tuple[DirectWire, RawServer]]:
    async with serve(script, **serving) as server:  # type: ignore[arg-type]
        wire = DirectWire(FAST, behind=Nobody())  # type: ignore[arg-type]
        try:
            yield wire, server
        finally:
            await wire.aclose()


def puts(server: RawServer, count: int) -> list[Request]:
    return [Request("PUT", f"{server.url}/{number}", body=[memoryview(b"%d" % number)]) for number in range(count)]


async def echo(connection: Connection, received: Received) -> None:
    await connection.reply(received.target[1:].encode())


def bodies(replies: object) -> list[str | None]:
    return [None if reply is None else reply.body.decode() for reply in replies]  # type: ignore[attr-defined]


async def test_every_request_gets_its_own_reply_over_few_connections_that_rest_afterwards() -> None:
    async with talk(echo) as (wire, server):
        for _ in range(2):
            replies = await wire.exchange_all(puts(server, 50), connections=4)
            assert bodies(replies) == [str(number) for number in range(50)]
        assert (await wire.exchange(Request("GET", f"{server.url}/again"))).body == b"again"
        assert server.connections == 4
    assert sorted(int(received.body) for received in server.requests[:50]) == list(range(50))


async def test_under_tls_too(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    bundle = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(bundle)
    async with serve(echo, tls=context) as server:
        wire = DirectWire(FAST, behind=Nobody(), ca_bundle=bundle)  # type: ignore[arg-type]
        url = server.url.replace("http:", "https:")
        requests = [Request("PUT", f"{url}/{number}", body=[memoryview(bytes(9000))]) for number in range(20)]
        try:
            assert bodies(await wire.exchange_all(requests, connections=3)) == [str(number) for number in range(20)]
        finally:
            await wire.aclose()


async def test_a_server_that_closes_each_connection_after_some_replies_answers_all() -> None:
    async def script(connection: Connection, received: Received) -> None:
        connection.asked = getattr(connection, "asked", 0) + 1  # type: ignore[attr-defined]
        last = connection.asked == 3  # type: ignore[attr-defined]
        await connection.reply(received.target[1:].encode(), headers="Connection: close\r\n" if last else "")
        if last:
            connection.writer.close()

    async with talk(script) as (wire, server):
        replies = await wire.exchange_all(puts(server, 20), connections=2)
    assert bodies(replies) == [str(number) for number in range(20)]
    assert [received.target for received in server.requests].count("/7") == 1


@pytest.mark.parametrize("fault", ["garbage", "reset", "silence", "half"])
async def test_a_fault_costs_the_reply_it_met_and_nothing_is_sent_twice(fault: str) -> None:
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
        else:
            await connection.gone()

    async with talk(script) as (wire, server):
        replies = await wire.exchange_all(puts(server, 12), connections=2)
        await eventually(lambda: server.open <= 2)
    assert bodies(replies) == [None if number == 5 else str(number) for number in range(12)]
    targets = [received.target for received in server.requests]
    assert sorted(targets) == sorted(f"/{number}" for number in range(12))


async def test_a_reply_that_its_request_refuses_does_not_count_and_ends_the_connection() -> None:
    def refuse(reply: Reply) -> None:
        raise RemoteError("about something else")

    async with talk(echo) as (wire, server):
        requests = puts(server, 6)
        requests[2] = Request("PUT", f"{server.url}/2", body=[memoryview(b"2")], check=refuse)
        replies = await wire.exchange_all(requests, connections=1)
        assert bodies(replies) == [None if number == 2 else str(number) for number in range(6)]
        assert server.connections == 2


async def test_an_early_refusal_is_a_reply() -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.reply(status="503 Slow Down")

    async with talk(script) as (wire, server):
        replies = await wire.exchange_all(puts(server, 5), connections=2)
    assert [reply and reply.status for reply in replies] == [503] * 5


async def test_without_a_server_nobody_gets_a_reply() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        wire = DirectWire(FAST, behind=Nobody())  # type: ignore[arg-type]
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/x"
        assert await wire.exchange_all([Request("PUT", url)] * 3, connections=2) == [None] * 3
        assert await wire.exchange_all([], connections=2) == []
        await wire.aclose()


async def test_cancelling_closes_the_connections_under_way() -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.gone()

    async with talk(script) as (wire, server):
        task = asyncio.create_task(wire.exchange_all(puts(server, 8), connections=3))
        await eventually(lambda: len(server.requests) == 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: server.open == 0)
    assert len(server.requests) == 3
