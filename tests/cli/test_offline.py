"""`--offline` is a promise: no command opens a connection or asks a resolver, and each says so or works locally."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.cli.conftest import World

# Runs one command line in a process whose every try to reach something outside is written down and refused.
GUARD = """
import sys
def guard(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind"):
        if not (event == "socket.bind" and isinstance(args[1], str)):
            print("REACHED OUT:", event, args, file=sys.stderr, flush=True)
            raise OSError(event)
sys.addaudithook(guard)
from bentosync.cli.main import root
root.main(sys.argv[1:])
"""


def offline(world: World, *arguments: str, switch: tuple[str, ...] = ("--offline",)) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", GUARD, *switch, *arguments],
        capture_output=True, text=True, timeout=60, env={**os.environ}, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def remote_world(world: World) -> World:
    """`m:v1` in the store; the only remote is on a network."""
    world.configure('[remote.far]\nurl = "s3://bucket/prefix"\nendpoint_url = "http://127.0.0.1:9"\n')
    world.model()
    return world


@pytest.mark.parametrize(
    "arguments",
    [
        ("pull", "m"),
        ("push", "m"),
        ("list", "--remote"),
        ("get", "m", "-o", "url"),
        ("delete", "-y", "--remote", "m"),
        ("gc", "--remote", "--dry-run"),
        ("remote", "test", "far"),
    ],
)
def test_what_needs_the_network_is_refused_before_a_socket_is_opened(
    remote_world: World, arguments: tuple[str, ...]
) -> None:
    status, _, stderr = offline(remote_world, *arguments)
    assert "REACHED OUT" not in stderr
    assert status == 2, stderr
    assert "needs the network, and offline is set" in stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("get", "m"),
        ("verify",),
        ("gc",),
        ("cache", "ls"),
        ("cache", "prune", "--max-size", "0", "-y"),
        ("doctor",),
        ("delete", "-y", "m"),
    ],
)
def test_what_is_local_works_and_opens_no_socket(remote_world: World, arguments: tuple[str, ...]) -> None:
    status, _, stderr = offline(remote_world, *arguments)
    assert "REACHED OUT" not in stderr
    assert status == 0, stderr


def test_a_folder_is_no_network(world: World) -> None:
    world.model()
    for arguments in (("push", "m"), ("delete", "-y", "m"), ("pull", "m"), ("list", "--remote")):
        status, _, stderr = offline(world, *arguments)
        assert (status, "REACHED OUT" in stderr) == (0, False), stderr


def test_the_guard_notices(remote_world: World) -> None:
    _, _, stderr = offline(remote_world, "list", "--remote", switch=())
    assert "REACHED OUT" in stderr
