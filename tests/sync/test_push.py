"""Pushes that die between two writes, and what the next one makes of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias, cast

import pytest

from bentosync import aio
from bentosync.errors import Conflict, IntegrityError, NetworkError, UnsafeInput
from bentosync.events import Finished
from bentosync.remote import keys
from bentosync.remote.contract import Remote
from bentosync.remote.open import open_remote
from bentosync.settings import RemoteSettings
from bentosync.store.store import Store
from bentosync.sync.push import push
from bentosync.sync.watch import Watch
from bentosync.tag import Tag
from tests.blocks import content
from tests.sync.scene import TRANSFER, Scene, tree_of

Call: TypeAlias = Callable[[], Awaitable[object]]

TAG = Tag("m", "v1")
ONE = {"a.bin": content(1, 200_000), "b.bin": content(2, 100_000)}
OTHER = {path: content(9, len(data)) for path, data in ONE.items()}
"""Other weights in files of the same names and sizes, as after another hour of training."""


class Killed(BaseException):
    """The process is gone."""


class Watched:
    """A remote on which something happens just before the first `method` call on a key that `chosen` accepts."""

    def __init__(
        self, inner: Remote, method: str, chosen: Callable[[str], bool], first: Callable[[Call], Awaitable[object]]
    ) -> None:
        self._inner = inner
        self._method = method
        self._chosen = chosen
        self._first = first
        self._happened = False

    def __getattr__(self, name: str) -> object:
        real = getattr(self._inner, name)

        async def call(key: str, *args: object, **more: object) -> object:
            if self._chosen(key) and not self._happened:
                self._happened = True
                await self._first(lambda: real(key, *args, **more))
            return await real(key, *args, **more)

        return call if name == self._method else real


def is_manifest(key: str) -> bool:
    return keys.parse_manifest(key) is not None


def is_latest(key: str) -> bool:
    return key == keys.latest_key("m")


def is_record(key: str) -> bool:
    return keys.parse_push_record(key) is not None


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path, RemoteSettings(url=(tmp_path / "remote").as_uri()))


def on_remote(scene: Scene, action: Callable[[Remote], Awaitable[object]]) -> None:
    async def main() -> None:
        remote = open_remote(scene.remote, TRANSFER)
        try:
            await action(remote)
        finally:
            await remote.aclose()

    asyncio.run(main())


async def push_through(scene: Scene, remote: object, *, force: bool = False) -> Finished:
    store: Store = scene.store("publisher")
    watch = Watch(scene.seen.append, "push")
    settings = scene.settings("publisher")
    return await push(store, cast(Remote, remote), store.get(TAG), settings=settings, watch=watch, force=force)


async def die(scene: Scene, remote: Remote, method: str, chosen: Callable[[str], bool]) -> Call:
    """Push `m:v1` and be killed on the way; return the call that was not made any more."""
    unsaid: list[Call] = []

    async def kill(call: Call) -> None:
        unsaid.append(call)
        raise Killed

    with pytest.raises(Killed):
        await push_through(scene, Watched(remote, method, chosen, kill))
    return unsaid[0]


def replace_content(scene: Scene, files: dict[str, bytes]) -> None:
    scene.store("publisher").delete(TAG)
    scene.create("m:v1", files)


def assert_published(scene: Scene, finished: Finished) -> None:
    """The remote holds the publisher's version, and nothing else."""
    pulled = scene.pull(f"m:v1@{finished.digest}")
    assert tree_of(pulled) == tree_of(scene.store("publisher").get(TAG))
    assert scene.keys("models/") == ["models/m/latest", "models/m/v1.jsonl"]
    assert len({key.split("/")[2] for key in scene.keys("files/")}) == 1


@pytest.mark.parametrize(
    ("method", "chosen"),
    [
        ("write", is_manifest),
        ("write", is_latest),
        ("stat", lambda key: key == keys.FORMAT_MARKER),
        ("delete", is_record),
    ],
)
def test_pushing_again_finishes_what_a_killed_push_left(
    scene: Scene, method: str, chosen: Callable[[str], bool]
) -> None:
    scene.create("m:v1", ONE)
    on_remote(scene, lambda remote: die(scene, remote, method, chosen))
    finished = scene.push("m:v1")
    assert finished.moved_bytes == 0
    assert_published(scene, finished)


def test_the_folder_of_a_published_version_is_never_written_again(scene: Scene) -> None:
    """The first push died before it removed its record; files of the same sizes would adopt it."""
    scene.create("m:v1", ONE)
    on_remote(scene, lambda remote: die(scene, remote, "delete", is_record))
    folder = scene.keys("files/")
    replace_content(scene, OTHER)
    finished = scene.push("m:v1", force=True)
    assert not set(folder) & set(scene.keys("files/"))
    assert_published(scene, finished)


def test_a_deleted_version_takes_the_record_of_its_killed_push_along(scene: Scene) -> None:
    """Else the next push would adopt the record, and write into the folder that is being removed."""
    scene.create("m:v1", ONE)
    on_remote(scene, lambda remote: die(scene, remote, "delete", is_record))
    asyncio.run(aio.delete_remote("m:v1", settings=scene.settings("publisher")))
    assert scene.keys("models/") == scene.keys("files/") == []


def test_a_manifest_that_arrives_after_its_pushers_death_keeps_its_files(scene: Scene) -> None:
    """The kernel still delivers what a killed process had written to its socket."""
    scene.create("m:v1", ONE)

    async def scenario(remote: Remote) -> None:
        late = await die(scene, remote, "write", is_manifest)
        await push_through(scene, Watched(remote, "write", is_manifest, lambda own: late()))

    on_remote(scene, scenario)
    assert_published(scene, scene.finished())


# --- what a forced push may replace -----------------------------------------------------------------------------------


def rival(scene: Scene) -> bytes:
    """Other content of `m:v1` is on the remote; its manifest."""
    scene.create("m:v1", OTHER, home="rival")
    scene.push("m:v1", home="rival")
    return scene.read_object(keys.manifest_key(TAG))


def edit(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def rot(path: Path) -> None:
    """As a bad disk does it: no time stamp tells."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"\x00")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("damage", [edit, rot])
def test_a_damaged_version_replaces_nothing_unless_it_is_meant(scene: Scene, damage: Callable[[Path], None]) -> None:
    published = rival(scene)
    scene.create("m:v1", ONE)
    damage(Path(scene.store("publisher").get(TAG).path, "b.bin"))
    with pytest.raises(IntegrityError, match=r"b\.bin differs") as caught:
        scene.push("m:v1", force=True)
    assert "--repair" in str(caught.value.hint)
    assert "--as-is" in str(caught.value.hint)
    with pytest.raises(IntegrityError, match=r"b\.bin differs"):
        asyncio.run(aio.plan_push("m:v1", force=True, settings=scene.settings("publisher")))
    assert scene.read_object(keys.manifest_key(TAG)) == published
    assert len({key.split("/")[2] for key in scene.keys("files/")}) == 1
    assert not scene.keys("models/m/pushes/")
    if damage is edit:
        assert_published(scene, scene.push("m:v1", force=True, as_is=True))


def test_an_undamaged_version_replaces_by_force(scene: Scene) -> None:
    rival(scene)
    scene.create("m:v1", ONE)
    assert_published(scene, scene.push("m:v1", force=True))


def test_a_broken_manifest_is_replaced_by_force_and_only_so(scene: Scene) -> None:
    scene.create("m:v1", ONE)
    scene.push("m:v1")
    key = keys.manifest_key(TAG)
    broken = bytearray(scene.read_object(key))
    broken[300] ^= 1
    scene.write_object(key, bytes(broken))
    with pytest.raises(UnsafeInput) as caught:
        scene.push("m:v1")
    assert "--force" in str(caught.value.hint)
    assert scene.read_object(key) == broken
    finished = scene.push("m:v1", force=True)
    pulled = scene.pull(f"m:v1@{finished.digest}")
    assert tree_of(pulled) == tree_of(scene.store("publisher").get(TAG))


def test_a_broken_manifest_that_somebody_repaired_meanwhile_is_not_replaced(scene: Scene) -> None:
    scene.create("m:v1", ONE)
    scene.write_object(keys.manifest_key(TAG), b"no manifest\n")

    async def main(remote: Remote) -> None:
        async def repair(call: Call) -> None:
            await asyncio.to_thread(scene.create, "m:v1", OTHER, "rival")
            await asyncio.to_thread(scene.push, "m:v1", home="rival", force=True)

        with pytest.raises(Conflict, match="other content"):
            await push_through(scene, Watched(remote, "write", is_manifest, repair), force=True)

    on_remote(scene, main)
    assert tree_of(scene.pull("m:v1")) == tree_of(scene.store("rival").get(TAG))


# --- replies that never come ------------------------------------------------------------------------------------------


class Deaf:
    """A remote that does what it is told and never says so: writes of a manifest end in a broken connection."""

    def __init__(self, inner: Remote, *, arrives: bool) -> None:
        self._inner = inner
        self._arrives = arrives

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def write(self, key: str, *args: object, **more: object) -> str:
        if not is_manifest(key):
            return await self._inner.write(key, *args, **more)  # type: ignore[arg-type]
        if self._arrives:
            await self._inner.write(key, *args, **more)  # type: ignore[arg-type]
        raise NetworkError("connection reset")


@pytest.mark.parametrize("force", [False, True])
def test_a_manifest_whose_every_reply_was_lost_is_looked_for_and_counts(scene: Scene, force: bool) -> None:
    if force:
        rival(scene)
    scene.create("m:v1", ONE)
    done: list[Finished] = []

    async def main(remote: Remote) -> None:
        done.append(await push_through(scene, Deaf(remote, arrives=True), force=force))

    on_remote(scene, main)
    assert_published(scene, done[0])


def test_a_manifest_that_never_arrived_is_an_error_and_the_next_push_sends_nothing_twice(scene: Scene) -> None:
    scene.create("m:v1", ONE)

    async def main(remote: Remote) -> None:
        with pytest.raises(NetworkError, match="connection reset"):
            await push_through(scene, Deaf(remote, arrives=False))

    on_remote(scene, main)
    finished = scene.push("m:v1")
    assert finished.moved_bytes == 0
    assert_published(scene, finished)
