"""Whoever runs it: a uid that no user has, no HOME, a root that cannot be written, any umask, a group that shares."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.conftest import UID, Boxed
from tests.processes.sandbox import Volume

EVERYTHING = (
    "list --remote", "pull m:v1", "list -q", "get m -o path", "verify --strong", "pull m --to /bentoml/plain",
    "cache ls", "gc", "push m:v1 --remote file:///bentoml/mirror", "delete -y m:v1",
)  # fmt: skip


def test_a_uid_that_no_user_has_needs_no_home_and_no_writable_root(boxed: Boxed, home: Path) -> None:
    box = boxed(Volume(home, "/bentoml"), uid=UID, gid=UID, read_only=True)
    assert box.run("sh", "-c", "touch /x /tmp/x || bentosync version").stdout == "bentosync 0.1.0\n"
    done = box.several(*EVERYTHING)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (home / "mirror/models/m/v1.jsonl").is_file()
    assert (home / "plain/model.yaml").is_file()
    assert {path.lstat().st_uid for path in home.rglob("*")} == {UID}


def test_without_any_home_there_is_a_clear_error(boxed: Boxed) -> None:
    done = boxed(uid=UID, gid=UID, environment={"BENTOML_HOME": ""}).run("bentosync", "list")
    assert done.returncode == 2
    assert "neither BENTOML_HOME nor HOME is set" in done.stderr


def test_a_home_that_is_not_there_is_made(boxed: Boxed, home: Path) -> None:
    box = boxed(
        Volume(home, "/bentoml"), uid=UID, gid=UID, read_only=True, environment={"BENTOML_HOME": "/bentoml/a/b"}
    )
    assert box.run("bentosync", "pull", "-q", "m").stdout == "/bentoml/a/b/models/m/v2\n"


def test_a_store_that_can_only_be_read_serves_reads_and_refuses_writes(boxed: Boxed, home: Path) -> None:
    filled = boxed(Volume(home, "/bentoml"), uid=UID, gid=UID).run("bentosync", "pull", "m:v1")
    assert filled.returncode == 0, filled.stderr
    before = entries(home)
    box = boxed(Volume(home, "/bentoml", read_only=True), uid=UID + 1, gid=UID + 1, read_only=True)
    read = box.several(
        "list -q", "get m -o path", "verify m:v1", "cache info", "gc", "pull m:v1", "load m --device cpu --verify full"
    )
    assert read.returncode == 0, read.stderr
    assert "m:v1: ok" in read.stdout
    assert "Up to date: m:v1" in read.stdout
    for command in ("pull m:v2", "delete -y m:v1", "cache pin m:v1"):
        refused = box.several(command)
        assert (command, refused.returncode) == (command, 4), refused.stderr
        assert re.search("Read-only file system|Permission denied", refused.stderr)
    assert entries(home) == before


def entries(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in root.rglob("*")}


def modes(root: Path) -> Iterator[tuple[str, int]]:
    for path in root.rglob("*"):
        yield path.relative_to(root).as_posix(), stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("umask", [0o077, 0o002, 0o027])
def test_modes_are_those_of_new_files_here(boxed: Boxed, home: Path, umask: int) -> None:
    box = boxed(Volume(home, "/bentoml"), uid=UID, gid=UID, umask=umask)
    done = box.several("pull m:v1", "get m -q", "pull m --to /bentoml/plain")
    assert done.returncode == 0, done.stderr
    for path, mode in modes(home):
        is_folder = (home / path).is_dir()
        assert mode == (0o777 if is_folder else 0o666) & ~umask, f"{path} has mode {mode:o}"


GROUP = 4321


def shared(home: Path) -> Path:
    os.chown(home, UID, GROUP)
    home.chmod(0o2775)
    return home


def test_two_users_of_one_group_share_a_store(boxed: Boxed, home: Path) -> None:
    """With a set-gid folder and umask 002, as shared folders have it, either may change what the other made."""
    volume = Volume(shared(home), "/bentoml")
    one, other = (boxed(volume, uid=uid, gid=GROUP, umask=0o002) for uid in (UID, UID + 1))
    steps = (
        (one, ("pull m:v1",)),
        (other, ("pull m:v2", "verify", "delete -y m:v1", "cache pin m:v2")),
        (one, ("pull m:v1", "cache unpin m:v2", "gc", "delete -y m")),
        (other, ("gc", "pull m")),
    )
    for box, lines in steps:
        done = box.several(*lines)
        assert done.returncode == 0, done.stderr
    assert {path.lstat().st_gid for path in home.rglob("*")} == {GROUP}


def test_what_one_user_began_another_of_the_group_finishes(boxed: Boxed, home: Path) -> None:
    volume = Volume(shared(home), "/bentoml")
    one, other = (boxed(volume, uid=uid, gid=GROUP, umask=0o002) for uid in (UID, UID + 1))
    begun = one.several("pull m:v1 --include *.safetensors")
    assert begun.returncode == 0, begun.stderr
    finished = other.several("pull m:v1", "verify --strong m:v1")
    assert finished.returncode == 0, finished.stderr
    assert "reused 3." in finished.stderr
