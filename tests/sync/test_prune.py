"""Pruning: each rule keeps a version by itself, and what goes can be pulled again byte for byte."""

from __future__ import annotations

import asyncio
import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from bentosync import aio, models
from bentosync.errors import InvalidArgument
from bentosync.store.record import Origin
from bentosync.sync.prune import Cached, Pruned, rank
from bentosync.tag import Tag
from tests.blocks import content
from tests.sync.scene import Scene, tree_of

DAY = 24 * 3600.0
SIZE = 1 << 20


def prune(scene: Scene, *, size: int | None = None, older: float | None = None, **more: object) -> Pruned:
    settings = scene.settings("consumer")
    more.setdefault("settings", settings)
    return asyncio.run(aio.prune(bytes_max=size, older_than_seconds=older, **more))  # type: ignore[arg-type]


def unused(scene: Scene, tag: str, days: float) -> None:
    """Let a version be unused for so long: its stamp, and when it was pulled."""
    store = scene.store("consumer")
    parsed = Tag.from_str(tag)
    moment = time.time() - days * DAY
    os.utime(store.layout.use_path(parsed, "used"), (moment, moment))
    record = store.record(parsed)
    assert record is not None
    assert record.origin is not None
    when = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(moment))
    store._digests.note(parsed, replace(record, origin=replace(record.origin, pulled_at=when)))


def pulled(scene: Scene, *tags: str, days: float = 10) -> None:
    for number, tag in enumerate(tags):
        scene.create(tag, {"weights.bin": content(number, SIZE)})
        scene.push(tag)
        scene.pull(tag)
        unused(scene, tag, days)


def tags_of(versions: tuple[Cached, ...]) -> list[str]:
    return [str(version.tag) for version in versions]


def local(scene: Scene) -> list[str]:
    return [str(tag) for tag in scene.store("consumer").tags()]


def why(pruned: Pruned, tag: str) -> str:
    return next(version.kept or "" for version in pruned.kept if str(version.tag) == tag)


def test_what_goes_can_be_pulled_again_byte_for_byte(scene: Scene) -> None:
    pulled(scene, "a:v1")
    assert tags_of(prune(scene, older=5 * DAY).gone) == ["a:v1"]
    assert local(scene) == []
    assert tree_of(scene.pull("a:v1")) == tree_of(scene.store("publisher").get("a:v1"))


def test_only_as_much_goes_as_is_asked_for_the_longest_unused_first(folder: Scene) -> None:
    for number, tag in enumerate(("a:v1", "b:v1", "c:v1")):
        pulled(folder, tag, days=10 + (number * 7) % 10)
    # Unused for: a 10, b 17, c 14 days.
    total = sum(model.file_size for model in folder.store("consumer").list())
    limit = total - SIZE - 4096
    found = prune(folder, size=limit)
    assert tags_of(found.gone) == ["b:v1", "c:v1"]
    assert found.left_bytes <= limit
    assert local(folder) == ["a:v1"]
    assert prune(folder, size=total).gone == ()


def test_older_than_takes_only_what_is_older(folder: Scene) -> None:
    pulled(folder, "old:v1", days=40)
    pulled(folder, "young:v1", days=20)
    assert tags_of(prune(folder, older=30 * DAY).gone) == ["old:v1"]


def test_a_dry_run_says_the_same_and_removes_nothing(folder: Scene) -> None:
    pulled(folder, "a:v1", "b:v1")
    planned = prune(folder, size=0, dry_run=True)
    assert local(folder) == ["a:v1", "b:v1"]
    assert tags_of(prune(folder, size=0).gone) == tags_of(planned.gone) == ["a:v1", "b:v1"]


def made_here(scene: Scene) -> None:
    scene.store("consumer").delete("a:v1")
    scene.create("a:v1", {"weights.bin": content(0, SIZE)}, home="consumer")


def pinned(scene: Scene) -> None:
    scene.store("consumer").pin(Tag("a", "v1"), keep=True)


def used(scene: Scene) -> None:
    scene.store("consumer").used(Tag("a", "v1"))


def used_in_the_future(scene: Scene) -> None:
    later = time.time() + 1000 * DAY
    os.utime(scene.store("consumer").layout.use_path(Tag("a", "v1"), "used"), (later, later))


def modified(scene: Scene) -> None:
    path = scene.store("consumer").layout.version_dir(Tag("a", "v1")) / "weights.bin"
    with path.open("r+b") as file:
        file.write(b"mine")


def extended(scene: Scene) -> None:
    (scene.store("consumer").layout.version_dir(Tag("a", "v1")) / "notes.txt").write_text("mine")


def gone_from_the_remote(scene: Scene) -> None:
    asyncio.run(aio.delete_remote("a:v1", settings=scene.settings("publisher")))


def replaced_on_the_remote(scene: Scene) -> None:
    scene.create("a:v1", {"weights.bin": b"another life"}, home="other")
    scene.push("a:v1", home="other", force=True)


def rotten_on_the_remote(scene: Scene) -> None:
    (key,) = (key for key in scene.keys("files/") if key.endswith("weights.bin"))
    scene.write_object(key, content(99, SIZE))


def lost_on_the_remote(scene: Scene) -> None:
    (key,) = (key for key in scene.keys("files/") if key.endswith("weights.bin"))
    scene.delete_object(key)


def remote_away(scene: Scene) -> None:
    (scene.root / "remote").rename(scene.root / "away")


def bento(scene: Scene, text: str) -> None:
    file = scene.root / "consumer/bentos/service/v1/bento.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)


def used_by_a_bento(scene: Scene) -> None:
    bento(scene, "services: [{name: s, models: [{tag: 'a:v1'}]}]")


def used_as_latest_by_a_bento(scene: Scene) -> None:
    bento(scene, "models: [{tag: 'a:latest'}]")


def bento_unreadable(scene: Scene) -> None:
    bento(scene, "models: [unclosed")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (made_here, "made here"),
        (pinned, "pinned"),
        (used, "used recently"),
        (used_in_the_future, "used recently"),
        (modified, "modified since"),
        (extended, "modified since"),
        (gone_from_the_remote, "not confirmed: Model 'a:v1' is not found"),
        (replaced_on_the_remote, "another manifest"),
        (rotten_on_the_remote, "holds weights.bin damaged; from here: bentosync push --resend a:v1"),
        (lost_on_the_remote, "holds weights.bin damaged"),
        (remote_away, "not confirmed"),
        (used_by_a_bento, "used by the Bento service:v1"),
        (used_as_latest_by_a_bento, "used by the Bento service:v1"),
        (bento_unreadable, "cannot be read"),
    ],
)
def test_each_rule_keeps_a_version_by_itself(folder: Scene, spoil: Callable[[Scene], None], reason: str) -> None:
    pulled(folder, "a:v1")
    spoil(folder)
    found = prune(folder, size=0)
    assert reason in why(found, "a:v1")
    assert local(folder) == ["a:v1"]


def test_what_another_works_on_stays(folder: Scene) -> None:
    pulled(folder, "a:v1")
    with folder.store("consumer").lock(Tag("a", "v1"), seconds=1):
        assert "another process" in why(prune(folder, size=0), "a:v1")


def test_what_is_open_or_mapped_stays(folder: Scene) -> None:
    pulled(folder, "a:v1")
    path = folder.store("consumer").layout.version_dir(Tag("a", "v1")) / "weights.bin"
    with path.open("rb") as file:
        assert why(prune(folder, size=0), "a:v1") == "open in a process"
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    assert why(prune(folder, size=0), "a:v1") == "open in a process"
    mapped.close()
    assert tags_of(prune(folder, size=0).gone) == ["a:v1"]


def test_what_latest_names_goes_only_after_its_siblings(folder: Scene) -> None:
    pulled(folder, "m:v1", "m:v2", days=20)
    pulled(folder, "m:v3", days=30)
    total = sum(model.file_size for model in folder.store("consumer").list())
    assert tags_of(prune(folder, size=total - 1).gone) == ["m:v1"]
    assert folder.store("consumer").get("m").tag == Tag("m", "v3")
    assert tags_of(prune(folder, size=0).gone) == ["m:v2", "m:v3"]


def test_what_latest_names_stays_while_a_sibling_cannot_go(folder: Scene) -> None:
    pulled(folder, "m:v1", "m:v2")
    asyncio.run(aio.delete_remote("m:v1", settings=folder.settings("publisher")))
    found = prune(folder, size=0)
    assert "latest names it" in why(found, "m:v2")
    assert local(folder) == ["m:v1", "m:v2"]


def test_a_modified_version_is_recognised_even_if_size_and_time_are_put_back(folder: Scene) -> None:
    pulled(folder, "a:v1")
    path = folder.store("consumer").layout.version_dir(Tag("a", "v1")) / "weights.bin"
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"mine")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "modified since" in why(prune(folder, size=0), "a:v1")


def test_offline_nothing_on_the_network_can_be_confirmed(folder: Scene) -> None:
    pulled(folder, "a:v1")
    store = folder.store("consumer")
    record = store.record(Tag("a", "v1"))
    assert record is not None
    assert record.origin is not None
    store._digests.note(Tag("a", "v1"), replace(record, origin=Origin("s3://bucket/prefix", record.origin.pulled_at)))
    found = prune(folder, size=0, settings=replace(folder.settings("consumer"), offline=True))
    assert "needs the network" in why(found, "a:v1")


def test_somebody_must_say_how_much(folder: Scene) -> None:
    with pytest.raises(InvalidArgument, match="how much"):
        prune(folder)


def version(tag: str, used_at: float, **more: object) -> Cached:
    return Cached(Tag.from_str(tag), 1, used_at, None, False, **{"latest": False, **more})  # type: ignore[arg-type]


def test_the_order_is_by_last_use_with_latest_after_its_siblings() -> None:
    free, kept = rank(
        [
            version("a:v1", 5.0),
            version("a:v2", 1.0, latest=True),
            version("b:v1", 3.0, latest=True),
            version("c:v1", 95.0),
            version("d:v1", 2.0, kept="pinned"),
        ],
        now=100.0,
        min_age_seconds=10.0,
    )
    assert [str(one.tag) for one in free] == ["b:v1", "a:v1", "a:v2"]
    assert {str(one.tag): one.kept for one in kept} == {"c:v1": "used recently", "d:v1": "pinned"}


def test_getting_and_loading_count_as_use_and_a_read_only_store_is_used_without_a_trace(folder: Scene) -> None:
    pulled(folder, "a:v1")
    store = folder.store("consumer")
    before = store.last_used(Tag("a", "v1"))
    assert before is not None
    assert before < time.time() - DAY
    models.get("a:v1", _model_store=store)
    after = store.last_used(Tag("a", "v1"))
    assert after is not None
    assert after > before
    bare = folder.root / "bare"
    Path(bare, "models").mkdir(parents=True)
    Path(folder.root, "consumer/models/a").rename(bare / "models/a")
    models.get("a:v1", _model_store=folder.store("bare"))
    assert [path.name for path in bare.iterdir()] == ["models"]
