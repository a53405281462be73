"""Copies between remotes: the same pin, every byte proven on its way, and the order of writes of a push."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from bentosync import aio, events
from bentosync.errors import Conflict, IntegrityError, InvalidArgument, NotFound
from bentosync.settings import RemoteSettings
from tests.blocks import content
from tests.sync.scene import FILES, Scene, tree_of


def other(scene: Scene) -> Scene:
    """The same homes, with the mirror as their remote."""
    return Scene(scene.root, RemoteSettings(url=(scene.root / "mirror").as_uri()))


def copy(scene: Scene, tag: str = "m:v1", *, back: bool = False, **more: object) -> events.Finished:
    settings = scene.settings("publisher")
    mirror = replace(other(scene).remote, name="mirror")
    settings = replace(settings, remotes={**settings.remotes, "mirror": mirror})
    source, target = ("mirror", "r") if back else ("r", "mirror")
    more.setdefault("on_event", scene.seen.append)
    return asyncio.run(aio.copy(tag, source=source, target=target, settings=settings, **more))  # type: ignore[arg-type]


def pushed(scene: Scene, tag: str = "m:v1") -> Scene:
    scene.create(tag)
    scene.push(tag)
    return scene


def test_a_copy_has_the_same_pin_and_the_same_bytes(scene: Scene) -> None:
    pin = pushed(scene).push("m:v1").digest
    end = copy(scene, f"m@{pin}")
    assert (end.outcome, end.digest, end.moved_bytes) == ("done", pin, end.total_bytes)
    assert tree_of(other(scene).pull(f"m@{pin}")) == tree_of(scene.store("publisher").get("m:v1"))
    assert other(scene).keys("models/m/pushes/") == []


def test_a_copy_back_is_a_no_op_and_a_copy_to_an_empty_bucket_is_whole(scene: Scene) -> None:
    pushed(scene)
    copy(scene)
    assert copy(scene, back=True).outcome == "up-to-date"
    asyncio.run(aio.delete_remote("m:v1", settings=scene.settings("publisher")))
    assert copy(scene, back=True).outcome == "done"
    assert tree_of(scene.pull("m:v1")) == tree_of(scene.store("publisher").get("m:v1"))


def test_copying_again_moves_nothing(folder: Scene) -> None:
    copy(pushed(folder))
    again = copy(folder)
    assert (again.outcome, again.moved_bytes) == ("up-to-date", 0)


def test_the_local_store_is_not_touched(folder: Scene) -> None:
    pushed(folder)
    folder.store("publisher").delete("m:v1")
    copy(folder)
    assert folder.store("publisher").list() == []
    assert list(folder.store("publisher").layout.state.glob("partial/*")) == []


def test_other_content_on_the_target_is_a_conflict_without_force(folder: Scene) -> None:
    mirror = other(folder)
    mirror.create("m:v1", {"a": b"another"}, home="elsewhere")
    mirror.push("m:v1", home="elsewhere")
    pushed(folder)
    with pytest.raises(Conflict, match="and b3:"):
        copy(folder)
    assert copy(folder, force=True).outcome == "done"
    assert tree_of(mirror.pull("m:v1")) == tree_of(folder.store("publisher").get("m:v1"))
    assert len({key.split("/")[2] for key in mirror.keys("files/")}) == 1


def test_a_damaged_source_is_never_published(folder: Scene) -> None:
    pushed(folder)
    (key,) = [key for key in folder.keys("files/") if key.endswith("/model.bin")]
    data = bytearray(folder.read_object(key))
    data[20 << 20] ^= 1
    folder.write_object(key, bytes(data))
    with pytest.raises(IntegrityError, match="model"):
        copy(folder)
    assert [key for key in other(folder).keys("models/") if key.endswith(".jsonl")] == []


def test_an_interrupted_copy_goes_on_with_whole_files_and_trusts_none(folder: Scene) -> None:
    folder.create("m:v1", {**FILES, "third.bin": content(3, 5 << 20)})
    folder.push("m:v1")

    class Killed(Exception):
        pass

    def die(event: events.Event) -> None:
        if isinstance(event, events.Phase) and event.name == "commit":
            raise Killed

    with pytest.raises(Killed):
        copy(folder, on_event=die)
    mirror = other(folder)
    (spoiled,) = [key for key in mirror.keys("files/") if key.endswith("/third.bin")]
    mirror.write_object(spoiled, content(4, 5 << 20))
    again = copy(folder)
    assert again.moved_bytes == 5 << 20
    assert again.reused_bytes == again.total_bytes - (5 << 20)
    assert tree_of(mirror.pull("m:v1")) == tree_of(folder.store("publisher").get("m:v1"))


def test_a_remote_is_not_copied_onto_itself(folder: Scene) -> None:
    pushed(folder)
    with pytest.raises(InvalidArgument, match="both source and target"):
        asyncio.run(aio.copy("m:v1", source="r", target="r", settings=folder.settings("publisher")))


def test_what_the_source_lacks_is_not_found(folder: Scene) -> None:
    with pytest.raises(NotFound):
        copy(pushed(folder), "m:v2")


def test_a_copy_moves_latest_on_the_target(folder: Scene) -> None:
    for tag in ("m:v1", "m:v2"):
        folder.create(tag, {"a": tag.encode()})
        folder.push(tag)
    copy(folder, "m:v2")
    copy(folder, "m:v1")
    assert other(folder).pull("m").tag.version == "v2"
    assert Path(folder.root / "mirror/bentosync.json").is_file()


def neighbour(scene: Scene) -> Scene:
    """The same homes, with another prefix of the same bucket as their remote."""
    return Scene(scene.root, replace(scene.remote, url=f"{scene.remote.url}-mirror"))


def copy_beside(scene: Scene) -> events.Finished:
    settings = scene.settings("publisher")
    mirror = replace(neighbour(scene).remote, name="mirror")
    settings = replace(settings, remotes={**settings.remotes, "mirror": mirror})
    return asyncio.run(aio.copy("m:v1", source="r", target="mirror", settings=settings, on_event=scene.seen.append))


def test_a_store_that_has_both_ends_copies_by_itself_and_is_read_back(
    bucket: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    pushed(bucket)
    caplog.set_level("DEBUG", "bentosync")
    assert copy_beside(bucket).outcome == "done"
    calls = [record.getMessage().split()[0] for record in caplog.records if "/model.bin" in record.getMessage()]
    assert "copy" in calls and "read_range" in calls
    assert not {"start_upload", "send_part"} & set(calls)
    assert tree_of(neighbour(bucket).pull("m:v1")) == tree_of(bucket.store("publisher").get("m:v1"))


def test_a_store_that_copies_damage_is_not_believed(bucket: Scene) -> None:
    pushed(bucket)
    (key,) = [key for key in bucket.keys("files/") if key.endswith("/model.bin")]
    data = bytearray(bucket.read_object(key))
    data[20 << 20] ^= 1
    bucket.write_object(key, bytes(data))
    with pytest.raises(IntegrityError, match="model"):
        copy_beside(bucket)
    assert [key for key in neighbour(bucket).keys("models/") if key.endswith(".jsonl")] == []
