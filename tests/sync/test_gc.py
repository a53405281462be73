"""Cleaning a remote: nothing a reader or a living push needs is ever removed, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bentosync import aio, events
from bentosync.errors import Conflict, NetworkError, UnsafeInput
from bentosync.remote import keys
from bentosync.remote.contract import Remote, Stat
from bentosync.remote.directory import DirectoryRemote
from bentosync.remote.keys import PushKey
from bentosync.remote.open import open_remote
from bentosync.sync import gc
from bentosync.sync.documents import TOMBSTONE
from bentosync.sync.gc import Folder, Plan, Seen
from bentosync.tag import Tag
from tests.sync.scene import TRANSFER, Scene, tree_of

DAY = 24 * 3600.0
WEEK = 7 * DAY


def collect(scene: Scene, *, later: float = 0.0, between: Callable[[], None] = lambda: None) -> Plan:
    """Look, wait for what happens `between`, remove; `later` seconds after now."""

    async def main() -> Plan:
        remote = open_remote(scene.remote, TRANSFER)
        try:
            seen = await gc.look(remote, jobs=4)
            plan = gc.decide(seen, now=time.time() + later, min_age_seconds=WEEK)
            await asyncio.to_thread(between)
            return await gc.collect(remote, seen, plan, exclusive=True)
        finally:
            await remote.aclose()

    return asyncio.run(main())


class Killed(Exception):
    pass


def interrupt(scene: Scene, tag: str, at: str, *, home: str = "publisher") -> None:
    """A push that dies when it says `at`."""

    def die(event: events.Event) -> None:
        if isinstance(event, events.Phase) and event.name == at:
            raise Killed

    with pytest.raises(Killed):
        scene.push(tag, home=home, on_event=die)


def small(scene: Scene, tag: str, text: bytes = b"small", home: str = "publisher") -> None:
    scene.create(tag, {"a.txt": text}, home=home)


def whole(scene: Scene, tag: str, home: str = "publisher") -> bool:
    return tree_of(scene.pull(tag)) == tree_of(scene.store(home).get(tag))


def test_what_is_published_stays(scene: Scene) -> None:
    small(scene, "m:v1")
    scene.push("m:v1")
    before = scene.keys("")
    assert collect(scene, later=10 * WEEK) == Plan((), (), (), (), 1)
    assert scene.keys("") == before


def test_an_interrupted_push_stays_for_a_week_and_then_goes_with_its_uploads(scene: Scene) -> None:
    small(scene, "m:v1")
    scene.push("m:v1")
    scene.create("m:v2")

    def die(event: events.Event) -> None:
        if isinstance(event, events.Progress) and event.path == "model.bin":
            raise Killed

    with pytest.raises(Killed):
        scene.push("m:v2", on_event=die)
    before = scene.keys("")
    young = collect(scene, later=6 * DAY)
    assert (young.folders, [why for _, why in young.kept]) == ((), ["a push in flight"])
    # A file whose last byte was sent before the push died may still appear.
    assert set(before) <= set(scene.keys(""))
    old = collect(scene, later=8 * DAY)
    assert [folder.push.tag for folder in old.folders] == [Tag("m", "v2")]
    assert [folder.uploads for folder in old.folders] != [[]]
    assert not [key for key in scene.keys("") if "v2" in key]
    assert collect(scene, later=10 * WEEK) == Plan((), (), (), (), 1)
    assert whole(scene, "m:v1")


def test_what_an_interrupted_delete_left_goes_when_it_is_old(scene: Scene) -> None:
    small(scene, "m:v1")
    scene.push("m:v1")
    scene.delete_object("models/m/v1.jsonl")
    assert [why for _, why in collect(scene).kept] == ["too young"]
    assert len(collect(scene, later=8 * DAY).folders) == 1
    assert scene.keys("files/") == []


def test_a_push_that_died_after_its_manifest_loses_only_its_record(scene: Scene) -> None:
    small(scene, "m:v1")
    scene.push("m:v1")
    (folder,) = {key.split("/")[2] for key in scene.keys("files/m/")}
    scene.write_object(f"models/m/pushes/{folder}.json", b'{"format":1}\n')
    plan = collect(scene, later=8 * DAY)
    assert (plan.folders, [stat.key for stat in plan.records]) == ((), [f"models/m/pushes/{folder}.json"])
    assert scene.keys("models/m/pushes/") == []
    assert whole(scene, "m:v1")


def test_a_push_that_wakes_up_before_its_record_is_condemned_keeps_everything(scene: Scene) -> None:
    small(scene, "m:v1")
    interrupt(scene, "m:v1", "commit")
    plan = collect(scene, later=8 * DAY, between=lambda: scene.push("m:v1") and None)
    assert plan.folders == ()
    assert whole(scene, "m:v1")


def test_a_push_whose_record_was_condemned_publishes_nothing_and_its_next_try_begins_afresh(scene: Scene) -> None:
    small(scene, "other:v1")
    scene.push("other:v1")
    small(scene, "m:v1")

    def clean(event: events.Event) -> None:
        # Asked at the last moment before the record is read back and the manifest is written.
        if isinstance(event, events.Phase) and event.name == "commit":
            gone.append(run_in_thread(lambda: collect(scene, later=8 * DAY)))

    gone: list[Plan] = []
    with pytest.raises(Conflict, match="took over the push record"):
        scene.push("m:v1", on_event=clean)
    assert [folder.push.tag for folder in gone[0].folders] == [Tag("m", "v1")]
    assert not [key for key in scene.keys("") if "/m/" in key]
    assert scene.push("m:v1").outcome == "done"
    assert whole(scene, "m:v1")


def run_in_thread(action: Callable[[], Plan]) -> Plan:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(action).result()


def test_a_tombstone_left_by_a_killed_clean_up_is_finished_by_the_next(scene: Scene) -> None:
    small(scene, "m:v1")
    scene.push("m:v1")
    small(scene, "m:v2")
    interrupt(scene, "m:v2", "commit")
    (record,) = scene.keys("models/m/pushes/")
    scene.write_object(record, TOMBSTONE)
    assert [why for _, why in collect(scene).kept] == ["too young"]
    assert scene.push("m:v2").reused_bytes == 0, "nobody adopts a tombstone"
    collect(scene, later=8 * DAY)
    assert scene.keys("models/m/pushes/") == []
    assert whole(scene, "m:v2")


def test_a_manifest_that_cannot_be_read_stops_it_before_the_first_deletion(scene: Scene) -> None:
    small(scene, "m:v1")
    scene.push("m:v1")
    scene.delete_object("models/m/v1.jsonl")
    scene.write_object("models/m/v2.jsonl", b"garbage\n")
    before = scene.keys("")
    with pytest.raises(UnsafeInput, match=r"v2\.jsonl"):
        collect(scene, later=8 * DAY)
    assert scene.keys("") == before


class Failing(DirectoryRemote):
    """A folder whose n-th listing breaks off after its first entry."""

    listing = 0
    listings = 0

    async def list(self, prefix: str) -> AsyncIterator[Stat]:
        self.listings += 1
        async for stat in super().list(prefix):
            yield stat
            if self.listings == self.listing:
                raise NetworkError("the second page never came")


@pytest.mark.parametrize("listing", [1, 2, 3])
def test_a_listing_that_breaks_off_stops_it(folder: Scene, listing: int) -> None:
    small(folder, "m:v1")
    folder.push("m:v1")
    remote = Failing(folder.root / "remote")
    remote.listing = listing
    with pytest.raises(NetworkError):
        asyncio.run(gc.look(remote, jobs=1))


def test_a_push_that_ends_between_the_listings_is_not_missed(folder: Scene) -> None:
    """The manifest appears and the record goes after the records were (or were not yet) listed."""
    small(folder, "a1:v1")
    interrupt(folder, "a1:v1", "commit")

    class Late(DirectoryRemote):
        before = ""

        async def list(self, prefix: str) -> AsyncIterator[Stat]:
            if prefix == keys.MODELS and self.before == "records":
                self.before = "done"
                await asyncio.to_thread(folder.push, "a1:v1")
            async for stat in super().list(prefix):
                if prefix == keys.MODELS and self.before == "middle":
                    self.before = "done"
                    await asyncio.to_thread(folder.push, "a1:v1")
                yield stat

    for moment in ("records", "middle"):
        remote = Late(folder.root / "remote")
        remote.before = moment
        seen = asyncio.run(gc.look(remote, jobs=1))
        assert gc.decide(seen, now=time.time() + 8 * DAY, min_age_seconds=WEEK).folders == ()
        asyncio.run(aio.delete_remote("a1:v1", settings=folder.settings("publisher")))
        interrupt(folder, "a1:v1", "commit")


def test_living_pushes_and_a_clean_up_that_thinks_a_week_has_passed_never_lose_a_version(scene: Scene) -> None:
    """The clean-up runs over and over while pushes go on; each push ends published and whole, or refused."""
    import threading

    for number in range(6):
        small(scene, f"m:v{number}", b"%d" % number)
    scene.push("m:v0")
    done = threading.Event()

    def clean() -> None:
        while not done.is_set():
            collect(scene, later=8 * DAY)

    cleaner = threading.Thread(target=clean)
    cleaner.start()
    refused = 0
    try:
        for number in range(1, 6):
            try:
                scene.push(f"m:v{number}")
            except Conflict:
                refused += 1
    finally:
        done.set()
        cleaner.join()
    published = [key for key in scene.keys("models/m/") if key.endswith(".jsonl")]
    assert len(published) + refused == 6
    for key in published:
        tag = keys.parse_manifest(key)
        assert whole(scene, str(tag))


def folder_of(version: str, newest: float) -> tuple[PushKey, Folder]:
    push = PushKey(Tag("m", version), "abcdefghij")
    return push, Folder(push, objects=1, size_bytes=1, newest_at=newest)


def seen_with(*versions: str, published: tuple[str, ...] = (), marked: bool = True) -> Seen:
    return Seen(
        dict(folder_of(version, 0.0) for version in versions),
        {},
        frozenset(),
        {Tag("m", version): "abcdefghij" for version in published},
        marked,
    )


def test_more_than_half_is_refused_and_half_is_not() -> None:
    half = seen_with("v1", "v2", published=("v1",))
    gc.refuse_too_much(half, gc.decide(half, now=WEEK, min_age_seconds=WEEK))
    most = seen_with("v1", "v2", "v3", published=("v1",))
    with pytest.raises(Conflict, match="2 of 3 folders"):
        gc.refuse_too_much(most, gc.decide(most, now=WEEK, min_age_seconds=WEEK))


def test_a_place_without_our_marker_is_refused() -> None:
    seen = seen_with("v1", "v2", published=("v1",), marked=False)
    with pytest.raises(Conflict, match=r"no bentosync\.json"):
        gc.refuse_too_much(seen, gc.decide(seen, now=WEEK, min_age_seconds=WEEK))


def test_a_clock_that_runs_behind_removes_nothing() -> None:
    seen = seen_with("v1")
    push = next(iter(seen.folders))
    seen.folders[push].newest_at = 10 * WEEK
    assert gc.decide(seen, now=0.0, min_age_seconds=WEEK).folders == ()


def test_ages_are_measured_by_the_stores_clock(scene: Scene) -> None:
    async def ask(remote: Remote) -> float:
        return await gc.store_time(remote)

    said = scene._on_remote(ask)
    assert abs(said - time.time()) < 300
    assert scene.keys("") == []


def test_foreign_keys_are_left_alone(scene: Scene) -> None:
    small(scene, "m:v1")
    scene.push("m:v1")
    scene.write_object("files/notes.txt", b"mine")
    scene.write_object("files/m/readme", b"mine")
    scene.delete_object("models/m/v1.jsonl")
    collect(scene, later=8 * DAY)
    assert scene.keys("files/") == ["files/m/readme", "files/notes.txt"]


def test_a_dry_run_writes_nothing(folder: Scene, tmp_path: Path) -> None:
    small(folder, "m:v1")
    folder.push("m:v1")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "remote").rglob("*")}
    asyncio.run(aio.gc_remote(dry_run=True, settings=folder.settings("publisher")))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "remote").rglob("*")} == before
