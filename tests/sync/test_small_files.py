"""Many small files: sent in batches, pulled out of packs, and right whatever becomes of the packs."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from msgspec.structs import replace

from bentosync import aio, events
from bentosync.errors import IntegrityError
from bentosync.remote.open import open_remote
from bentosync.settings import TransferSettings
from bentosync.sync import gc
from tests.blocks import content
from tests.sync.scene import Scene

FILES = {f"sub{number % 7}/{number:04d}.bin": content(number, 7000 + number) for number in range(280)}
FILES |= {f"large/{number}.bin": content(number, 70_000 + number) for number in range(3)}
FILES |= {"empty.txt": b"", "model.safetensors": b"no tensors at all"}


def files_of(model: object) -> dict[str, bytes]:
    root = Path(model.path)  # type: ignore[attr-defined]
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name not in ("model.yaml", "run.sh")
    }


def packs(scene: Scene) -> list[str]:
    return [key for key in scene.keys("files/m/") if ".packs/" in key]


def reads(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The keys of the ranges that were read."""
    return [record.message.split()[1] for record in caplog.records if record.message.startswith("read_range ")]


def test_a_pull_reads_packs_instead_of_small_files(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.create("m:v1", FILES)
    pushed = scene.push("m:v1")
    stored = scene.keys("files/m/")
    assert len(packs(scene)) == 1
    assert len([key for key in stored if ".packs/" not in key]) == len(FILES) + 2
    with caplog.at_level(logging.DEBUG, logger="bentosync"):
        model = scene.pull("m:v1")
    assert files_of(model) == FILES
    assert [key for key in reads(caplog) if "/sub" in key] == []
    assert pushed.moved_bytes == pushed.total_bytes
    pulled = [event for event in scene.seen if isinstance(event, events.Finished)][-1]
    assert (pulled.moved_bytes, pulled.refetched_bytes) == (pulled.total_bytes, 0)
    done = [event.path for event in scene.seen if isinstance(event, events.FileDone) and event.operation == "pull"]
    assert sorted(done) == sorted(FILES.keys() - {"empty.txt"} | {"model.yaml", "run.sh"})


def test_a_copy_brings_the_packs_along(folder: Scene) -> None:
    folder.create("m:v1", FILES)
    folder.push("m:v1")
    mirror = replace(folder.remote, url=(folder.root / "mirror").as_uri(), name="mirror")
    settings = folder.settings("publisher")
    settings = replace(settings, remotes={**settings.remotes, "mirror": mirror})
    asyncio.run(aio.copy("m:v1", source="r", target="mirror", settings=settings))
    there = Scene(folder.root, mirror)
    assert [there.read_object(key) for key in packs(there)] == [folder.read_object(key) for key in packs(folder)]
    assert files_of(there.pull("m:v1")) == FILES


@pytest.mark.parametrize("what", ["gone", "short", "flipped", "another's"])
def test_whatever_becomes_of_a_pack_the_files_are_right(folder: Scene, what: str) -> None:
    folder.create("m:v1", FILES)
    folder.push("m:v1")
    [key] = packs(folder)
    data = bytearray(folder.read_object(key))
    match what:
        case "gone":
            folder.delete_object(key)
        case "short":
            folder.write_object(key, bytes(data[:-1]))
        case "flipped":
            for at in range(0, len(data), 50_000):
                data[at] ^= 1
            folder.write_object(key, bytes(data))
        case _:
            folder.write_object(key, content(99, len(data)))
    for verify in ("auto", "strong"):
        assert files_of(folder.pull("m:v1", home=verify, verify=verify)) == FILES  # type: ignore[arg-type]


def test_packs_go_with_their_version(folder: Scene) -> None:
    folder.create("m:v1", FILES)
    folder.push("m:v1")
    asyncio.run(aio.delete_remote("m:v1", settings=folder.settings("publisher")))
    assert folder.keys("files/") == []


def test_a_forced_push_removes_the_packs_of_what_it_replaces(folder: Scene) -> None:
    folder.create("m:v1", FILES)
    folder.push("m:v1")
    [before] = packs(folder)
    folder.create("m:v1", FILES | {"more.txt": b"more"}, home="other")
    folder.push("m:v1", home="other", force=True)
    [after] = packs(folder)
    assert before != after


async def test_clean_up_takes_packs_for_part_of_their_push(folder: Scene) -> None:
    await asyncio.to_thread(folder.create, "m:v1", FILES)
    await asyncio.to_thread(folder.push, "m:v1")
    remote = open_remote(folder.remote, TransferSettings())
    seen = await gc.look(remote, jobs=2)
    [found] = seen.folders.values()
    assert found.objects == len(FILES) + 3
    assert gc.decide(seen, now=4e9, min_age_seconds=1).folders == ()
    orphaned = replace(seen, published={})
    plan = gc.decide(orphaned, now=4e9, min_age_seconds=1)
    await remote.delete("models/m/v1.jsonl")
    await gc.collect(remote, orphaned, plan, exclusive=True)
    assert [stat.key async for stat in remote.list("files/")] == []
    await remote.aclose()


class Stop(Exception):
    pass


def stop_after(files: int) -> events.Observer:
    """An observer that raises `Stop` when so many files are done."""
    left = files

    def stop(event: events.Event) -> None:
        nonlocal left
        left -= isinstance(event, events.FileDone)
        if left == 0:
            raise Stop

    return stop


def test_an_interrupted_push_sends_what_is_missing_and_nothing_twice(scene: Scene) -> None:
    scene.create("m:v1", FILES)
    with pytest.raises(Stop):
        scene.push("m:v1", on_event=stop_after(200))
    stored = {key for key in scene.keys("files/m/") if "/sub" in key}
    finished = scene.push("m:v1")
    assert finished.reused_bytes >= sum(len(FILES[f"sub{key.partition('/sub')[2]}"]) for key in stored) > 0
    assert len(packs(scene)) == 1
    assert files_of(scene.pull("m:v1")) == FILES


def test_an_interrupted_pull_goes_on_from_what_it_proved(folder: Scene, caplog: pytest.LogCaptureFixture) -> None:
    folder.create("m:v1", FILES)
    folder.push("m:v1")
    with pytest.raises(Stop):
        folder.pull("m:v1", on_event=stop_after(240))
    with caplog.at_level(logging.DEBUG, logger="bentosync"):
        assert files_of(folder.pull("m:v1")) == FILES
    assert [key for key in reads(caplog) if "/sub" in key or ".packs/" in key] == []
    pulled = [event for event in folder.seen if isinstance(event, events.Finished)][-1]
    assert pulled.reused_bytes > 800_000


def test_a_few_missing_files_are_not_worth_a_pack(folder: Scene, caplog: pytest.LogCaptureFixture) -> None:
    folder.create("m:v1", FILES)
    folder.push("m:v1")
    folder.pull("m:v1")
    changed = dict(FILES)
    inside = [path for path in sorted(FILES) if path.startswith("sub6/")][-3:]
    changed |= {path: content(1000, len(FILES[path])) for path in inside}
    folder.create("m:v1", changed, home="other")
    folder.push("m:v1", home="other", force=True)
    with caplog.at_level(logging.DEBUG, logger="bentosync"):
        assert files_of(folder.pull("m:v1", force=True)) == changed
    assert sorted({key.partition("/sub")[2] for key in reads(caplog) if "/sub" in key}) == [path[3:] for path in inside]
    assert not [key for key in reads(caplog) if ".packs/" in key]


def test_a_small_file_that_changes_while_it_is_pushed_publishes_nothing(folder: Scene) -> None:
    model = folder.create("m:v1", FILES)

    def change(event: events.Event) -> None:
        if isinstance(event, events.Phase) and event.name == "transfer":
            Path(model.path, "sub3/0003.bin").write_bytes(b"shorter")

    with pytest.raises(IntegrityError, match=r"sub3/0003\.bin changed"):
        folder.push("m:v1", on_event=change)
    assert folder.keys("models/m/v1.jsonl") == []
