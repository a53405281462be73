"""Ctrl-C and SIGTERM: one line with the way to go on, the right status, at once, and nothing is lost."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pyte
import pytest

from bentosync.tag import Tag
from tests.cli.conftest import Spawn, World, command
from tests.cli.stalling import stalling
from tests.servers.s3 import S3Server

MIB = 1 << 20
STOPPED_SECONDS_MAX = 5.0
"""Far above the second that is promised: this machine may be busy with other tests."""


def configure(world: World, port: int) -> None:
    world.configure(
        f'[transfer]\njobs = 4\nstall_seconds = 60\nrange_bytes = "1MiB"\n[remote.lab]\nurl = "s3://bench/{world.base.name}"\n'
        f'endpoint_url = "http://127.0.0.1:{port}"\nregion = "us-east-1"\naddressing = "path"\n'
    )


@dataclass(frozen=True)
class Stalled:
    """A world whose remote falls silent, the event that says it did, and the port of the healthy server behind."""

    world: World
    silent: threading.Event
    server: int


@pytest.fixture
def stalled(world: World, spawn: Spawn, seaweed_credentials: S3Server) -> Iterator[Stalled]:
    """`m:v1`, 24 MiB, is on a remote that falls silent in the middle of it."""
    server = urlsplit(seaweed_credentials.endpoint_url).port
    assert server is not None
    world.model(size_bytes=24 * MIB, shards=2)
    configure(world, server)
    pushed = spawn("push", "m")
    assert pushed.returncode == 0, pushed.stderr
    spawn("delete", "-y", "m")
    with stalling(server, 12 * MIB) as (port, silent):
        configure(world, port)
        yield Stalled(world, silent, server)


def wait_for_proven_blocks(world: World) -> None:
    """What the relay let through may still be in a socket's buffer; wait until a block of it has been proven."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for bitmap in world.base.glob("bentoml/.bentosync/partial/*/bitmap"):
            if any(bitmap.read_bytes()[-4:]):
                return
        time.sleep(0.02)
    raise AssertionError("no block was ever proven")


def until(process: subprocess.Popen[str], text: str) -> str:
    """Read stderr up to a line that holds `text`."""
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"{text!r} never came: {seen}")


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_pull_says_how_to_go_on_and_goes_on(stalled: Stalled, spawn: Spawn, signum: int, status: int) -> None:
    process = subprocess.Popen(command("pull", "m:v1"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert stalled.silent.wait(20)
    wait_for_proven_blocks(stalled.world)
    process.send_signal(signum)
    began = time.monotonic()
    stdout, stderr = process.communicate(timeout=30)
    assert time.monotonic() - began < STOPPED_SECONDS_MAX
    assert (process.returncode, stdout) == (status, "")
    assert re.search(r"^Paused at \d+\.\d/24\.0 MiB\. Resume: bentosync pull m:v1$", stderr, re.MULTILINE)
    assert not stalled.world.store.list()
    configure(stalled.world, stalled.server)
    again = spawn("pull", "m:v1")
    assert again.returncode == 0
    assert ", reused 0 B," not in again.stderr


def test_the_line_names_the_place_and_the_same_command(world: World) -> None:
    with world.store.lock(Tag("m", "v1"), seconds=1):
        world.model()
        process = subprocess.Popen(command("push", "m:v1"), stderr=subprocess.PIPE, text=True)
        until(process, "Waiting for another process that works on m:v1")
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=30)
    assert process.returncode == 130
    assert rest == "Paused. Resume: bentosync push m:v1\n"


@pytest.mark.parametrize("option", ["--json", "--progress=json"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_program_is_told_in_json(world: World, signum: int, option: str) -> None:
    with world.store.lock(Tag("m", "v1"), seconds=1):
        world.model()
        process = subprocess.Popen(
            command("push", "m:v1", option), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        until(process, "aiting")
        process.send_signal(signum)
        stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (128 + signum, "")
    assert json.loads(stderr.splitlines()[-1]) == {
        "v": 1, "event": "error", "code": "INTERRUPTED", "message": "stopped",
        "try": [f"bentosync push m:v1 {option}"], "exit": 128 + signum,
    }  # fmt: skip


def test_a_second_signal_quits_on_the_spot(world: World) -> None:
    world.model()
    with (
        world.store.lock(Tag("m", "v1"), seconds=1),
        subprocess.Popen(command("push", "m:v1"), stderr=subprocess.PIPE, text=True) as process,
    ):
        until(process, "Waiting")
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143


def test_at_a_prompt_ctrl_c_deletes_nothing(world: World, on_a_terminal) -> None:
    world.model()
    status, lines = on_a_terminal("delete", "m", keys={"Delete 1 model?": b"\x03"})
    assert status == 130
    assert lines[-1].endswith("Interrupted.")
    assert world.store.list()


def test_on_a_terminal_the_bars_leave_a_clean_screen(stalled: Stalled, on_a_terminal) -> None:
    status, lines = on_a_terminal("pull", "m:v1", keys={" total ": b"\x03"})
    assert status == 130
    assert [line.split()[0] for line in lines] == ["Pulling", "Paused"]
    assert lines[1].startswith("Paused at ")
    assert lines[1].endswith(" MiB. Resume: bentosync pull m:v1")


@pytest.fixture
def on_a_terminal(world: World):
    """Run the command line on a pseudo-terminal, typing keys when a text appears; its status and its last screen."""

    def run(*arguments: str, keys: dict[str, bytes]) -> tuple[int, list[str]]:
        master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, b"\x18\x00\x64\x00\x00\x00\x00\x00")
        process = subprocess.Popen(
            command(*arguments),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm", "LANG": "C.UTF-8", "COLUMNS": "100", "LINES": "24"},
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        os.set_blocking(master, False)
        screen = pyte.Screen(100, 24)
        stream = pyte.ByteStream(screen)
        waiting = dict(keys)
        deadline = time.monotonic() + 40
        while True:
            if not select.select([master], [], [], 3)[0]:
                # A signal between the prompt and the read waits for the next key press, in any Python program.
                waiting = dict(keys)
                if time.monotonic() > deadline:
                    process.kill()
            try:
                data = os.read(master, 65536)
            except BlockingIOError:
                data = b""
            except OSError:  # EIO: the last process that held the terminal is gone
                break
            stream.feed(data)
            shown = "\n".join(screen.display)
            for text in [text for text in waiting if text in shown]:
                os.write(master, waiting.pop(text))
        os.close(master)
        lines = [line.rstrip().removeprefix("^C") for line in screen.display if line.strip("^C ")]
        return process.wait(timeout=30), lines

    return run
