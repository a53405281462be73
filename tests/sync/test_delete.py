"""Listing and deleting on a remote: heads only, the pointer first, and never another version's bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from bentosync import aio, events
from bentosync.errors import Conflict, NotFound, UnsafeInput
from bentosync.manifest import decode
from bentosync.remote.contract import Remote, Stat
from bentosync.remote.directory import DirectoryRemote
from bentosync.sync import delete as deleting
from bentosync.sync import heads
from bentosync.sync.heads import Head
from bentosync.tag import Tag
from tests.sync.scene import Scene, tree_of


def delete(scene: Scene, target: str | Head) -> list[str]:
    found = asyncio.run(aio.delete_remote(target, settings=scene.settings("publisher"), on_event=scene.seen.append))
    return [str(head.tag) for head in found]


def listed(scene: Scene, name: str | None = None) -> list[Head]:
    return asyncio.run(aio.list_remote(name, settings=scene.settings("publisher"), on_event=scene.seen.append))


def push(scene: Scene, *tags: str) -> None:
    for tag in tags:
        scene.create(tag, {"a.txt": tag.encode()})
        scene.push(tag)


def test_a_list_shows_what_the_manifests_say(scene: Scene) -> None:
    push(scene, "m:v1", "m:v2", "other:v1")
    assert [str(head.tag) for head in listed(scene)] == ["m:v1", "m:v2", "other:v1"]
    (head,) = listed(scene, "m:v2")
    model = scene.store("publisher").get("m:v2")
    assert head.created == model.creation_time
    assert (head.card.size, dict(head.card.labels)) == (model.file_size, {"stage": "dev"})
    assert [str(head.tag) for head in listed(scene, "m:latest")] == ["m:v2"]


def test_a_list_reads_no_more_than_the_heads(folder: Scene) -> None:
    folder.create("m:v1", {f"{index}.txt": b"%d" % index for index in range(400)})
    folder.push("m:v1")
    (manifest,) = (folder.root / "remote/models/m").glob("*.jsonl")
    assert manifest.stat().st_size > 2 * decode.HEAD_BYTES
    with manifest.open("r+b") as file:
        file.truncate(decode.HEAD_BYTES)
    assert [str(head.tag) for head in listed(folder)] == ["m:v1"]


def test_a_manifest_that_is_none_is_named_and_hides_no_other(scene: Scene) -> None:
    push(scene, "m:v1")
    scene.write_object("models/m/v2.jsonl", b"{}\n")
    scene.write_object("models/m/v3.jsonl", b"")
    assert [str(head.tag) for head in listed(scene)] == ["m:v1"]
    warned = " ".join(event.message for event in scene.seen if isinstance(event, events.Warned))
    assert "m:v2 is not listed" in warned
    assert "m:v3 is not listed" in warned


def test_a_deleted_version_leaves_nothing_behind_and_its_siblings_whole(scene: Scene) -> None:
    push(scene, "m:v1", "m:v2", "m:v2.1")
    assert delete(scene, "m:v2") == ["m:v2"]
    assert not [key for key in scene.keys("") if "/v2." in key.replace("v2.1", "") or "/v2-" in key]
    for version in ("v1", "v2.1"):
        assert tree_of(scene.pull(f"m:{version}")) == tree_of(scene.store("publisher").get(f"m:{version}"))
    with pytest.raises(NotFound):
        delete(scene, "m:v2")


def test_latest_names_the_newest_that_is_left(scene: Scene) -> None:
    push(scene, "m:v1", "m:v2", "m:v3")
    assert delete(scene, "m:v3") == ["m:v3"]
    assert json.loads(scene.read_object("models/m/latest"))["version"] == "v2"
    assert delete(scene, "m:v1") == ["m:v1"]
    assert json.loads(scene.read_object("models/m/latest"))["version"] == "v2"
    assert scene.pull("m").tag == Tag("m", "v2")


def test_deleting_all_versions_leaves_only_the_format_marker(scene: Scene) -> None:
    push(scene, "m:v1", "m:v2")
    assert delete(scene, "m") == ["m:v1", "m:v2"]
    assert scene.keys("") == ["bentosync.json"]
    with pytest.raises(NotFound):
        scene.pull("m")


def test_latest_means_one_version(scene: Scene) -> None:
    push(scene, "m:v1", "m:v2")
    assert delete(scene, "m:latest") == ["m:v2"]
    assert [str(head.tag) for head in listed(scene)] == ["m:v1"]


def test_what_was_pushed_again_since_it_was_looked_at_stays(scene: Scene) -> None:
    push(scene, "m:v1")
    (head,) = listed(scene)
    scene.create("m:v1", {"a.txt": b"another life"}, home="other")
    scene.push("m:v1", home="other", force=True)
    with pytest.raises(Conflict, match="replaced meanwhile"):
        delete(scene, head)
    assert scene.pull("m:v1").tag == Tag("m", "v1")


class Interfering(DirectoryRemote):
    """Something happens between the last look at a manifest and its delete."""

    happens: Callable[[], object]

    async def delete(self, key: str, **more: object) -> None:  # type: ignore[override]
        if key == "models/m/v1.jsonl":
            await asyncio.to_thread(self.happens)
        await super().delete(key, **more)  # type: ignore[arg-type]


def delete_while(scene: Scene, happens: Callable[[], object]) -> None:
    async def main() -> None:
        remote = Interfering(scene.root / "remote")
        remote.happens = happens
        (head,) = await deleting.versions(remote, Tag("m", "v1"), jobs=4)
        await deleting.delete(remote, head, exclusive=True)

    asyncio.run(main())


def test_what_is_pushed_in_the_last_moment_stays(folder: Scene) -> None:
    push(folder, "m:v1")
    folder.create("m:v1", {"a.txt": b"another life"}, home="other")
    with pytest.raises(Conflict, match="was replaced meanwhile"):
        delete_while(folder, lambda: folder.push("m:v1", home="other", force=True))
    assert tree_of(folder.pull("m:v1")) == tree_of(folder.store("other").get("m:v1"))


def test_what_somebody_else_deletes_in_the_last_moment_is_deleted(folder: Scene) -> None:
    push(folder, "m:v1")
    delete_while(folder, lambda: folder.delete_object("models/m/v1.jsonl"))
    assert folder.keys("files/") == []


def test_a_version_whose_manifest_cannot_be_read_is_not_deleted(scene: Scene) -> None:
    push(scene, "m:v1")
    before = scene.keys("")
    scene.write_object("models/m/v1.jsonl", b"{}\n")
    with pytest.raises(UnsafeInput, match=r"v1\.jsonl"):
        delete(scene, "m:v1")
    assert scene.keys("") == before


def test_a_deleted_name_can_be_pushed_again(scene: Scene) -> None:
    push(scene, "m:v1")
    delete(scene, "m:v1")
    assert scene.push("m:v1").outcome == "done"
    assert scene.pull("m").tag == Tag("m", "v1")


class Interrupted(Exception):
    pass


class Dying(DirectoryRemote):
    """Dies after so many deletes and writes."""

    left = 0

    async def delete(self, key: str, **more: object) -> None:  # type: ignore[override]
        self._count()
        await super().delete(key, **more)  # type: ignore[arg-type]

    async def write(self, key: str, *args: object, **more: object) -> str:  # type: ignore[override]
        self._count()
        return await super().write(key, *args, **more)  # type: ignore[arg-type]

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Interrupted


@pytest.mark.parametrize("point", range(8))
def test_wherever_a_delete_dies_readers_see_whole_versions_only(folder: Scene, point: int) -> None:
    scene = folder
    push(scene, "m:v1", "m:v2")

    async def die() -> bool:
        remote = Dying(scene.root / "remote")
        remote.left = point
        (head,) = await deleting.versions(remote, Tag("m", "v2"), jobs=2)
        try:
            await deleting.delete(remote, head, exclusive=True)
        except Interrupted:
            return True
        return False

    died = asyncio.run(die())
    assert died == (point < 6)  # the pointer is written; the manifest, its push record and three files go
    for head in listed(scene):
        assert tree_of(scene.pull(str(head.tag))) == tree_of(scene.store("publisher").get(str(head.tag)))
    assert scene.pull("m").tag in {Tag("m", "v1"), Tag("m", "v2")}


def test_a_manifest_that_vanishes_between_list_and_read_does_not_count(folder: Scene) -> None:
    class Late(DirectoryRemote):
        async def list(self, prefix: str):  # type: ignore[no-untyped-def, override]
            yield Stat("models/m/gone.jsonl", 100, "e", 0.0)

    async def look(remote: Remote) -> list[Head]:
        return await heads.read_all(remote, None, jobs=1, unreadable=lambda tag, error: None)

    assert asyncio.run(look(Late(folder.root))) == []
