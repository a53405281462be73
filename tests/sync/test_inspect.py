"""Inspection: rot on a remote is found where it is, in whatever way it rotted, and nothing is written anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from bentosync import aio
from bentosync.errors import InvalidArgument, NotFound
from bentosync.events import Warned
from bentosync.store.proof import Damage
from bentosync.sync.inspect import Inspected
from tests.blocks import content
from tests.sync.scene import FILES, Scene

MIB = 1 << 20
MODEL, SECOND = len(FILES["model.bin"]), len(FILES["sub/second.bin"])


def inspect(scene: Scene, *, share: float | None = None, strength: aio.Strength = "full") -> Inspected:
    return asyncio.run(
        aio.verify_remote(
            "m:v1", share=share, strength=strength, settings=scene.settings("nobody"), on_event=scene.seen.append
        )
    )


@pytest.fixture
def published(folder: Scene) -> Scene:
    return publish(folder)


def publish(scene: Scene) -> Scene:
    scene.create("m:v1")
    scene.push("m:v1")
    return scene


def key_of(scene: Scene, path: str) -> str:
    (key,) = (key for key in scene.keys("files/") if key.endswith(path))
    return key


def flip(scene: Scene, path: str, *offsets: int) -> None:
    key = key_of(scene, path)
    data = bytearray(scene.read_object(key))
    for offset in offsets:
        data[offset] ^= 1
    scene.write_object(key, bytes(data))


@pytest.mark.parametrize("strength", ["full", "strong"])
def test_what_is_whole_is_read_whole_and_has_no_damage(published: Scene, strength: aio.Strength) -> None:
    found = inspect(published, strength=strength)
    assert found.damage == ()
    assert found.end.moved_bytes == found.size_bytes == found.end.total_bytes
    assert not (published.root / "nobody" / "models").exists()


def test_every_damaged_block_is_named(published: Scene) -> None:
    flip(published, "model.bin", 5 * MIB + 17, 20 * MIB, MODEL - 1)
    flip(published, "small.txt", 3)
    damage = inspect(published).damage
    assert damage == (
        Damage("model.bin", 5 * MIB, 6 * MIB, "bytes"),
        Damage("model.bin", 20 * MIB, 21 * MIB, "bytes"),
        Damage("model.bin", 34 * MIB, MODEL, "bytes"),
        Damage("small.txt", 0, 600, "bytes"),
    )


def test_a_bucket_is_read_as_a_folder_is(bucket: Scene) -> None:
    publish(bucket)
    flip(bucket, "model.bin", 5 * MIB + 17)
    lost = lose(bucket)
    assert inspect(bucket).damage == (Damage("model.bin", 5 * MIB, 6 * MIB, "bytes"), lost)


def test_strong_names_leaves(published: Scene) -> None:
    flip(published, "model.bin", 5 * MIB + 17)
    assert inspect(published, strength="strong").damage == (Damage("model.bin", 0, 8 * MIB, "bytes"),)


def lose(scene: Scene) -> Damage:
    scene.delete_object(key_of(scene, "second.bin"))
    return Damage("sub/second.bin", 0, SECOND, "missing")


def cut(scene: Scene) -> Damage:
    key = key_of(scene, "second.bin")
    scene.write_object(key, scene.read_object(key)[:-1])
    return Damage("sub/second.bin", 0, SECOND, "size")


def grow(scene: Scene) -> Damage:
    key = key_of(scene, "second.bin")
    scene.write_object(key, scene.read_object(key) + b"more")
    return Damage("sub/second.bin", 0, SECOND, "size")


def fill(scene: Scene) -> Damage:
    scene.write_object(key_of(scene, "empty.txt"), b"no longer empty")
    return Damage("empty.txt", 0, 0, "size")


@pytest.mark.parametrize("rot", [lose, cut, grow, fill])
@pytest.mark.parametrize("share", [None, 0.01])
def test_lost_and_resized_files_are_found_by_a_sample_too(
    published: Scene, rot: Callable[[Scene], Damage], share: float | None
) -> None:
    expected = rot(published)
    assert inspect(published, share=share).damage == (expected,)


def test_a_sample_reads_at_least_a_block_of_every_file_and_little_more(published: Scene) -> None:
    found = inspect(published, share=0.001)
    assert found.damage == ()
    assert found.end.moved_bytes <= 2 * MIB + 1000
    assert {event.path for event in published.seen if hasattr(event, "path")} >= set(FILES)


def test_a_sample_of_everything_is_everything(published: Scene) -> None:
    flip(published, "sub/second.bin", 8 * MIB + 1)
    found = inspect(published, share=1.0)
    assert found.end.moved_bytes == found.size_bytes
    assert found.damage == (Damage("sub/second.bin", 8 * MIB, SECOND, "bytes"),)


SMALL = {f"{number:03d}.bin": content(number, 50_000) for number in range(220)}  # three packs


def packed(scene: Scene) -> list[str]:
    """The keys of the packs of a version that was just pushed."""
    scene.create("m:v1", SMALL)
    scene.push("m:v1")
    return sorted(key for key in scene.keys("files/") if ".packs/" in key)


def spoil(scene: Scene, key: str) -> None:
    data = bytearray(scene.read_object(key))
    data[60_000] ^= 1
    scene.write_object(key, bytes(data))


def shorten(scene: Scene, key: str) -> None:
    scene.write_object(key, scene.read_object(key)[:-1])


def remove(scene: Scene, key: str) -> None:
    scene.delete_object(key)


@pytest.mark.parametrize("rot", [spoil, shorten, remove])
def test_a_pack_that_helps_nobody_is_a_warning_and_no_damage(folder: Scene, rot: Callable[[Scene, str], None]) -> None:
    _, second, _ = packed(folder)
    assert inspect(folder).packs == ()
    rot(folder, second)
    found = inspect(folder)
    assert (found.damage, found.packs) == ((), (second,))
    [said] = [event for event in folder.seen if isinstance(event, Warned)]
    assert second in said.message
    assert said.hint == "bentosync push --resend m:v1"
    asyncio.run(aio.push("m:v1", resend=True, settings=folder.settings("publisher")))
    assert inspect(folder).packs == ()


def test_packs_that_were_never_written_or_not_asked_for_are_no_finding(folder: Scene) -> None:
    keys = packed(folder)
    for key in keys:
        spoil(folder, key)
    assert inspect(folder, share=0.5).packs == ()
    assert inspect(folder, strength="strong").packs == tuple(keys)
    for key in keys:
        folder.delete_object(key)
    assert inspect(folder).packs == ()


def test_in_a_bucket_too_a_pack_is_looked_at(bucket: Scene) -> None:
    first, *_ = packed(bucket)
    shorten(bucket, first)
    assert inspect(bucket).packs == (first,)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01])
def test_no_share_is_refused(folder: Scene, share: float) -> None:
    with pytest.raises(InvalidArgument, match="share"):
        inspect(folder, share=share)


def test_a_version_that_is_not_there_is_not_found(folder: Scene) -> None:
    folder.create("m:v2")
    folder.push("m:v2")
    with pytest.raises(NotFound, match="m:v1"):
        inspect(folder)
