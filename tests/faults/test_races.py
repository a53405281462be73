"""C3, C9-C13: pulls, pushes and deletes of one version at the same time."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from bentosync import aio
from bentosync.errors import BentoMLException, Conflict, NotFound
from bentosync.events import Finished
from bentosync.store.store import Store
from tests.blocks import content
from tests.faults.bench import PREFIX, SMALL, Bench, settings
from tests.servers.faulty.actions import Delay, Meanwhile
from tests.servers.faulty.objects import Bucket

MODEL = r"model\.bin"
RACES = 8
"""Of each kind; the dice are seeded, the interleavings are the machine's."""


def delete_small(bucket: Bucket) -> None:
    """As `delete --remote` does: manifest first, then the folder; `latest` goes too."""
    for part in ("models/small/v1.jsonl", "models/small/latest", "files/small/"):
        for key in [key for key in bucket.objects if key.startswith(PREFIX + part)]:
            del bucket.objects[key]


def replacement(bench: Bench) -> Bucket:
    """The server's state after `small:v1` was deleted and pushed again with other bytes."""
    home, publisher = bench.root / "writer", bench.publisher
    bench.create(str(SMALL), {"model.bin": content(41, 9_500_000), "new.bin": content(42, 200_000)})
    bench.server.bucket.become(bench.empty)
    asyncio.run(aio.push(SMALL, settings=settings(home, bench.server.url)))
    replaced = bench.server.bucket.snapshot()
    bench.server.bucket.become(bench.published)
    bench.publisher = publisher
    return replaced


@pytest.mark.parametrize("nth", [1, 2])
def test_a_version_deleted_while_it_is_pulled_was_deleted_and_is_not_damaged(bench: Bench, nth: int) -> None:
    bench.server.inject("GetObject", Meanwhile(delete_small), key=MODEL, nth=nth)
    bench.pull(fails=NotFound, match="was deleted", stays=False)
    assert not (bench.root / "consumer" / "models" / "small" / "v1").exists()


def test_a_version_deleted_before_its_manifest_was_read_is_not_found(bench: Bench) -> None:
    bench.server.inject("GetObject", Meanwhile(delete_small), key=r"v1\.jsonl$")
    bench.pull("small", fails=NotFound, match="small", stays=False)


@pytest.mark.parametrize("nth", [1, 2])
def test_a_version_replaced_while_it_is_pulled_is_a_conflict_and_never_a_mix(bench: Bench, nth: int) -> None:
    replaced = replacement(bench)
    bench.server.inject("GetObject", Meanwhile(lambda bucket: bucket.become(replaced)), key=MODEL, nth=nth)
    bench.pull(fails=Conflict, match="was replaced", stays=False)
    bench.pull()


def test_a_version_pushed_again_with_other_bytes_is_a_conflict_for_who_has_the_old_one(bench: Bench) -> None:
    bench.pull()
    bench.server.bucket.become(replacement(bench))
    bench.pull(fails=Conflict, match="small:v1", stays=False)


def test_a_real_delete_beside_a_pull_leaves_a_whole_version_or_a_clean_error(bench: Bench) -> None:
    dice = random.Random(3)
    for race in range(RACES):
        bench.server.bucket.become(bench.published)
        slow(bench, dice)

        async def both(home: Path) -> list[object]:
            there = settings(home, bench.server.url, cache_dir=bench.publisher.parent / "cache")
            return await asyncio.gather(
                aio.pull(SMALL, settings=there), aio.delete_remote(SMALL, settings=there), return_exceptions=True
            )

        home = bench.root / f"consumer-{race}"
        pulled, deleted = asyncio.run(both(home))
        assert isinstance(deleted, list), deleted
        assert not isinstance(pulled, BaseException) or isinstance(pulled, NotFound), pulled
        assert bool(Store(home).list()) == (not isinstance(pulled, NotFound))
        shutil.rmtree(home)
    bench.server.heal()
    bench.look()


# --- pushes -----------------------------------------------------------------------------------------------------------


def slow(bench: Bench, dice: random.Random) -> None:
    """Some calls take longer than others, differently every time."""
    bench.server.heal()
    for _ in range(8):
        bench.server.inject("*", Delay(dice.random() / 100), nth=dice.randrange(1, 12))


async def push_both(homes: tuple[Path, Path], url: str, tags: tuple[str, str]) -> list[object]:
    cache = homes[0].parent / "cache"
    pushes = (
        aio.push(tag, settings=settings(home, url, cache_dir=cache)) for home, tag in zip(homes, tags, strict=True)
    )
    return await asyncio.gather(*pushes, return_exceptions=True)


def homes(folder: Path, first: Mapping[str, bytes], second: Mapping[str, bytes] | None) -> tuple[Path, Path]:
    """Two stores with `race:v1`; the second is a copy of the first, or has other files."""
    for home, files in ((folder / "one", first), (folder / "two", second)):
        if files is None:
            shutil.copytree(folder / "one", home)
            (home / ".bentosync" / "owner").unlink(missing_ok=True)
            continue
        with Store(home).create("race:v1") as model:
            for path, data in files.items():
                Path(model.path, path).write_bytes(data)
    return folder / "one", folder / "two"


def folders(bench: Bench) -> set[str]:
    return {key.split("/")[4] for key in bench.server.bucket.objects if key.startswith(f"{PREFIX}files/race/")}


def test_of_two_pushes_of_the_same_content_both_succeed_and_one_folder_stays(
    fresh: Bench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pair = homes(tmp_path_factory.mktemp("pushers"), {"a.bin": content(1, 70_000)}, None)
    dice = random.Random(9)
    for _ in range(RACES):
        fresh.server.bucket.become(fresh.empty)
        slow(fresh, dice)
        outcomes = asyncio.run(push_both(pair, fresh.server.url, ("race:v1", "race:v1")))
        assert all(isinstance(outcome, Finished) for outcome in outcomes), outcomes
        fresh.look()
        fresh.accounted(done=True)
        assert len(folders(fresh)) == 1


def test_of_two_pushes_of_other_content_one_wins_whole_and_the_other_is_a_conflict(
    fresh: Bench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pair = homes(tmp_path_factory.mktemp("pushers"), {"a.bin": content(1, 70_000)}, {"a.bin": content(2, 80_000)})
    dice = random.Random(10)
    for _ in range(RACES):
        fresh.server.bucket.become(fresh.empty)
        slow(fresh, dice)
        outcomes = asyncio.run(push_both(pair, fresh.server.url, ("race:v1", "race:v1")))
        kinds = {type(outcome) for outcome in outcomes}
        assert kinds == {Finished, Conflict}, outcomes
        fresh.look()
        fresh.accounted(done=False)


def test_of_two_pushes_of_two_versions_latest_names_the_newer_one(
    fresh: Bench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("pushers")
    tags = ("race:older", "race:newer")
    pair = (folder / "one", folder / "two")
    for home, tag in zip(pair, tags, strict=True):
        with Store(home).create(tag) as model:
            Path(model.path, "a.bin").write_bytes(content(3, 70_000))
    dice = random.Random(11)
    for _ in range(RACES):
        fresh.server.bucket.become(fresh.empty)
        slow(fresh, dice)
        outcomes = asyncio.run(push_both(pair, fresh.server.url, tags))
        assert not [outcome for outcome in outcomes if isinstance(outcome, BaseException)], outcomes
        assert fresh.look().latest["server", "race"] == "newer"


def test_a_push_beside_a_delete_of_the_same_version_leaves_a_whole_version_or_none(
    fresh: Bench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pair = homes(tmp_path_factory.mktemp("pushers"), {"a.bin": content(1, 70_000)}, None)
    asyncio.run(aio.push("race:v1", settings=settings(pair[0], fresh.server.url)))
    there = fresh.server.bucket.snapshot()
    dice = random.Random(12)

    async def both() -> list[object]:
        place = settings(pair[1], fresh.server.url, cache_dir=pair[0].parent / "cache")
        return await asyncio.gather(
            aio.push("race:v1", force=True, settings=place),
            aio.delete_remote("race:v1", settings=place),
            return_exceptions=True,
        )

    for _ in range(RACES):
        fresh.server.bucket.become(there)
        slow(fresh, dice)
        outcomes = asyncio.run(both())
        assert all(not isinstance(outcome, BaseException) or isinstance(outcome, BentoMLException)
                   for outcome in outcomes), outcomes  # fmt: skip
        fresh.look()
