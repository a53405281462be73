"""Pushes that die between two writes, and what the next one makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias, cast

import pytest

from bentosync import aio
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
