"""The C++ core alone, under sanitizers (native/tests)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import ssl
import subprocess
import sys
from array import array
from pathlib import Path

import pytest
import trustme

from tests.servers.raw import Connection, Received, Script, serve

ROOT = Path(__file__).parents[2]
NEEDS_LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the receiver stands on epoll")
SANITIZERS = ["address,undefined", "thread"]
pytestmark = pytest.mark.timeout(300)  # the first test of each waits for the compiler


@pytest.fixture(scope="module", params=SANITIZERS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the self-tests, built with one set of sanitizers. On CI a missing compiler is a failure."""
    if not (shutil.which("cmake") and shutil.which("c++")):
        missing = "THE COMPILED CORE IS NOT TESTED UNDER SANITIZERS: there is no cmake, or no C++ compiler"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    folder = tmp_path_factory.mktemp("sanitized")
    options = ["-DBENTOSYNC_MODULE=OFF", "-DBENTOSYNC_SELF_TEST=ON", "-DCMAKE_BUILD_TYPE=RelWithDebInfo"]
    checked("cmake", "-S", str(ROOT), "-B", str(folder), *options, f"-DBENTOSYNC_SANITIZERS={request.param}")
    checked("cmake", "--build", str(folder), "--parallel", "2")
    return folder


def checked(*command: str) -> str:
    """Run it; its output is the message if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_way_is_right_and_reads_only_its_bytes(built: Path) -> None:
    assert "tables ok" in checked(str(built / "self_test"))


@NEEDS_LINUX
def test_the_receiver_writes_only_where_and_while_it_may(built: Path) -> None:
    assert "receiver ok" in checked(str(built / "receiver_test"))


@NEEDS_LINUX
def test_volleys_read_strictly_and_stop_when_told(built: Path) -> None:
    assert "volley ok" in checked(str(built / "volley_test"))


@NEEDS_LINUX
def test_a_sender_reads_only_what_and_while_it_may(built: Path) -> None:
    assert "sending ok" in checked(str(built / "sending_test"))


@NEEDS_LINUX
async def test_the_receiver_over_tls_writes_only_where_and_while_it_may(built: Path, tmp_path: Path) -> None:
    assert "receiver ok" in await driven(built / "receiver_test", numbered_bytes, tmp_path)


@NEEDS_LINUX
async def test_a_sender_over_tls_reads_only_what_and_while_it_may(built: Path, tmp_path: Path) -> None:
    assert "sending ok" in await driven(built / "sending_test", swallowed_bytes, tmp_path, read_body=False)


async def driven(program: Path, script: Script, folder: Path, *, read_body: bool = True) -> str:
    """What `program` says after it has talked to a server with TLS that answers by `script`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with serve(script, tls=tls, read_body=read_body) as server:
        command = [str(program), str(server.port), str(folder / "ca.pem")]
        driver = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output, _ = await driver.communicate()
    assert driver.returncode == 0, output.decode()
    return output.decode()


async def swallowed_bytes(connection: Connection, received: Received) -> None:
    """As the target says: bytes that count to 250 again and again are read whole; a reply comes early, or none."""
    if received.target == "/whole":
        body = await connection.reader.readexactly(int(received.headers["length"]))
        counted = bytes(range(251)) * (len(body) // 251 + 1)
        await connection.reply(status="200 OK" if body == counted[: len(body)] else "400 Bad Digest")
    elif received.target == "/silent":
        connection.writer.close()
    else:
        if received.target == "/early":
            await connection.reply(status="503 Slow Down")
        try:
            await asyncio.sleep(60)
        finally:
            connection.writer.transport.abort()


async def numbered_bytes(connection: Connection, received: Received) -> None:
    """As many bytes as the target says: every four of them are their position, in fours."""
    size = int(received.target[1:])
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    with contextlib.suppress(ConnectionError):
        for begin in range(0, size, 1 << 16):
            words = array("I", range(begin // 4, (begin + (1 << 16)) // 4))
            words.byteswap()
            await connection.send(words.tobytes()[: size - begin])
            await asyncio.sleep(0)  # asyncio learns that the other side is gone only when it gets a turn
