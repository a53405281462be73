"""Repair: only what is bad moves, nothing is mended in place, and no other manifest is ever followed."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bentosync import aio, events
from bentosync.errors import Conflict, IntegrityError, NotFound
from bentosync.tag import Tag
from tests.blocks import content
from tests.sync.scene import Scene, tree_of

MIB = 1 << 20
TAG = Tag("m", "v1")


def repair(scene: Scene, home: str = "consumer", *, strength: aio.Strength = "full", remote: str | None = None) -> int:
    return asyncio.run(
        aio.repair(TAG, strength=strength, remote=remote, settings=scene.settings(home), on_event=scene.seen.append)
    ).moved_bytes


def flip(path: Path, *offsets: int) -> None:
    with path.open("r+b") as file:
        for offset in offsets:
            (old,) = os.pread(file.fileno(), 1, offset)
            os.pwrite(file.fileno(), bytes([old ^ 1]), offset)


def pulled(scene: Scene) -> Path:
    scene.create("m:v1")
    scene.push("m:v1")
    return Path(scene.pull("m:v1").path)


def whole(scene: Scene, home: str = "consumer") -> bool:
    store = scene.store(home)
    same = tree_of(store.get("m:v1")) == tree_of(scene.store("publisher").get("m:v1"))
    return same and not store.check(TAG, strength="strong")


@pytest.mark.parametrize(("strength", "fetched"), [("full", 2 * MIB), ("strong", 16 * MIB)])
def test_only_the_bad_blocks_or_leaves_are_fetched(scene: Scene, strength: aio.Strength, fetched: int) -> None:
    tree = pulled(scene)
    flip(tree / "model.bin", 5 * MIB + 17, 20 * MIB)
    assert repair(scene, strength=strength) == fetched
    assert whole(scene)


def flip_a_bit(tree: Path) -> None:
    flip(tree / "model.bin", 7)


def cut(tree: Path) -> None:
    os.truncate(tree / "model.bin", 33 * MIB + 5)


def grow(tree: Path) -> None:
    with (tree / "model.bin").open("ab") as file:
        file.write(b"more than there should be")


def lose(tree: Path) -> None:
    (tree / "sub/second.bin").unlink()


def lose_model_yaml(tree: Path) -> None:
    (tree / "model.yaml").unlink()


def add(tree: Path) -> None:
    (tree / "stray").write_bytes(b"stray")


def unmark(tree: Path) -> None:
    (tree / "run.sh").chmod(0o644)


def turn_into_a_pipe(tree: Path) -> None:
    (tree / "sub/second.bin").unlink()
    os.mkfifo(tree / "sub/second.bin")


def turn_into_a_link(tree: Path) -> None:
    (tree / "model.bin").rename(tree.parent / "elsewhere")
    (tree / "model.bin").symlink_to(tree.parent / "elsewhere")


@pytest.mark.parametrize(
    ("damage", "fetched"),
    [
        (flip_a_bit, MIB),
        (cut, 12_345 + MIB),
        (grow, 0),
        (lose, 9 * MIB),
        (lose_model_yaml, 0),
        (add, 0),
        (unmark, 0),
        (turn_into_a_pipe, 9 * MIB),
        (turn_into_a_link, 34 * MIB + 12_345),
    ],
)
def test_every_kind_of_damage_is_repaired(folder: Scene, damage: Callable[[Path], None], fetched: int) -> None:
    damage(pulled(folder))
    assert repair(folder) == fetched
    assert whole(folder)


def test_the_origin_stays_and_no_partial_is_left(scene: Scene) -> None:
    tree = pulled(scene)
    store = scene.store("consumer")
    before = store.record(TAG)
    flip(tree / "model.bin", 0)
    repair(scene)
    after = store.record(TAG)
    assert before is not None
    assert after is not None
    assert (after.origin, after.manifest) == (before.origin, before.manifest)
    assert list(store.layout.partials.iterdir()) == []


def test_what_is_open_keeps_its_bytes_because_nothing_is_mended_in_place(scene: Scene) -> None:
    tree = pulled(scene)
    flip(tree / "model.bin", 0)
    damaged = (tree / "model.bin").read_bytes()
    with (tree / "model.bin").open("rb") as file:
        repair(scene)
        assert file.read() == damaged
    assert whole(scene)


def test_a_remote_with_another_manifest_is_refused_and_nothing_changes(scene: Scene) -> None:
    tree = pulled(scene)
    scene.create("m:v1", {"a": b"another life"}, home="other")
    scene.push("m:v1", home="other", force=True)
    flip(tree / "model.bin", 0)
    before = (tree / "model.bin").read_bytes()
    with pytest.raises(Conflict, match="the local version is"):
        repair(scene)
    assert (tree / "model.bin").read_bytes() == before


def test_a_version_made_here_is_repaired_from_where_it_was_pushed(scene: Scene) -> None:
    model = scene.create("m:v1")
    scene.push("m:v1")
    flip(Path(model.path, "model.bin"), 3 * MIB)
    assert repair(scene, "publisher") == MIB
    record = scene.store("publisher").record(TAG)
    assert record is not None
    assert record.origin is None


def test_bytes_that_are_bad_on_the_remote_too_are_never_taken(scene: Scene) -> None:
    tree = pulled(scene)
    (key,) = [key for key in scene.keys("files/") if key.endswith("/model.bin")]
    data = bytearray(scene.read_object(key))
    data[0] ^= 1
    scene.write_object(key, bytes(data))
    flip(tree / "model.bin", 0)
    before = (tree / "model.bin").read_bytes()
    with pytest.raises(IntegrityError):
        repair(scene)
    assert (tree / "model.bin").read_bytes() == before


def test_an_interrupted_repair_goes_on_and_its_damaged_partial_counts_for_nothing(scene: Scene) -> None:
    tree = pulled(scene)
    good = (tree / "model.bin").read_bytes()
    flip(tree / "model.bin", 0)

    class Stop(Exception):
        pass

    def stop(event: events.Event) -> None:
        if isinstance(event, events.Phase) and event.name == "commit":
            raise Stop

    with pytest.raises(Stop):
        asyncio.run(aio.repair(TAG, settings=scene.settings("consumer"), on_event=stop))
    (partial,) = scene.store("consumer").layout.partials.iterdir()
    flip(partial / "tree/model.bin", 20 * MIB)
    flip(tree / "model.bin", 20 * MIB)
    assert repair(scene) == MIB
    assert (scene.store("consumer").layout.version_dir(TAG) / "model.bin").read_bytes() == good


def test_without_digests_there_is_nothing_to_repair_towards(scene: Scene) -> None:
    pulled(scene)
    shutil.rmtree(scene.store("consumer").layout.state / "manifests")
    with pytest.raises(NotFound, match="no digests"):
        repair(scene)


def test_a_forced_pull_reuses_what_the_old_life_holds(scene: Scene) -> None:
    scene.create("m:v1", {"a.bin": content(5, 8 * MIB)}, home="consumer")
    scene.create("m:v1", {"a.bin": content(5, 8 * MIB)[: 6 * MIB] + content(6, 2 * MIB)})
    scene.push("m:v1")
    scene.pull("m:v1", force=True)
    assert scene.finished().reused_bytes == 6 * MIB
    assert whole(scene)
