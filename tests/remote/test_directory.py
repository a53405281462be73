"""What is special about a folder: links, special files, leftovers, durable uploads."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from bentosync.errors import IntegrityError, InvalidArgument, LocalIOError, NoSpace, NotFound, UnsafeInput
from bentosync.remote.contract import IfAbsent, Part, Upload
from bentosync.remote.directory import UPLOADS, DirectoryRemote
from tests.remote.conformance import Collector, digest, keys_below, pattern


async def test_reading_makes_nothing(tmp_path: Path) -> None:
    remote = DirectoryRemote(tmp_path / "absent")
    with pytest.raises(NotFound):
        await remote.stat("k")
    await remote.delete("k")
    assert await keys_below(remote, "") == []
    assert [found async for found in remote.list_uploads("")] == []
    assert not (tmp_path / "absent").exists()


async def test_links_and_special_files_are_neither_followed_nor_listed(tmp_path: Path) -> None:
    root = tmp_path / "remote"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path / "outside" / "secret")
    (root / "folder").symlink_to(tmp_path / "outside")
    os.mkfifo(root / "fifo")
    remote = DirectoryRemote(root)
    for key in ("link", "folder/secret", "fifo"):
        with pytest.raises(UnsafeInput):
            await remote.read(key, bytes_max=100)
        with pytest.raises(UnsafeInput):
            await remote.read_range(key, 0, 1, Collector())
        with pytest.raises(UnsafeInput):
            await remote.stat(key)
    with pytest.raises(UnsafeInput):
        await remote.write("folder/new", b"x")
    assert await keys_below(remote, "") == []
    assert sorted(path.name for path in (tmp_path / "outside").iterdir()) == ["secret"]


async def test_a_root_that_is_a_link_is_fine(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    await DirectoryRemote(tmp_path / "alias").write("a/k", b"x")
    assert (tmp_path / "real" / "a" / "k").read_bytes() == b"x"


@pytest.mark.parametrize("key", ["", "/abs", "a//b", "a/", "../x", "a/../b", ".", f"{UPLOADS}/x", "a\0b"])
async def test_keys_that_leave_the_root_or_touch_our_own_files_are_refused(tmp_path: Path, key: str) -> None:
    remote = DirectoryRemote(tmp_path)
    with pytest.raises(UnsafeInput):
        await remote.write(key, b"x")
    with pytest.raises(UnsafeInput):
        await remote.start_upload(key, size=1, part_bytes=1)


async def test_writes_leave_no_temporary_files(tmp_path: Path) -> None:
    remote = DirectoryRemote(tmp_path)
    await remote.write("a/k", b"one", condition=IfAbsent())
    await remote.write("a/k", b"two")
    assert sorted(path.name for path in (tmp_path / UPLOADS).iterdir()) == ["lock"]
    await remote.delete("a/k")
    assert not (tmp_path / "a").exists()


async def test_a_file_in_the_place_of_a_folder_is_a_clear_error(tmp_path: Path) -> None:
    remote = DirectoryRemote(tmp_path)
    await remote.write("a", b"x")
    for place, key in ((remote, "a/b"), (DirectoryRemote(tmp_path / "a"), "b")):
        with pytest.raises(LocalIOError, match="not a folder"):
            await place.write(key, b"x")
        with pytest.raises(NotFound):
            await place.stat(key)


async def test_an_etag_names_one_state_even_of_equal_bytes(tmp_path: Path) -> None:
    remote = DirectoryRemote(tmp_path)
    assert len({await remote.write("k", b"same") for _ in range(50)}) == 50


async def test_space_for_an_upload_is_taken_at_its_start(tmp_path: Path) -> None:
    remote = DirectoryRemote(tmp_path)
    with pytest.raises((NoSpace, LocalIOError)):
        await remote.start_upload("k", size=1 << 50, part_bytes=1 << 40)
    assert list((tmp_path / UPLOADS).iterdir()) == []
    upload = await remote.start_upload("k", size=1 << 20, part_bytes=1 << 20)
    assert (tmp_path / UPLOADS / upload.id / "data").stat().st_blocks * 512 >= 1 << 20


async def test_a_torn_journal_costs_only_the_parts_whose_lines_are_torn(tmp_path: Path) -> None:
    remote = DirectoryRemote(tmp_path)
    data = pattern(30)
    upload = await remote.start_upload("k", size=30, part_bytes=10)
    for number in (1, 2, 3):
        piece = data[(number - 1) * 10 : number * 10]
        await remote.send_part(upload, number, [memoryview(piece)], checksum=digest(remote, piece))
    journal = tmp_path / UPLOADS / upload.id / "parts"
    lines = [line for line in journal.read_bytes().splitlines(keepends=True) if line.strip()]
    journal.write_bytes(lines[0] + b"\x00garbage\n" + lines[1].replace(b" 10 ", b" 11 ") + lines[2][:-3])
    assert [part.number for part in await remote.list_parts(upload)] == [1]
    again = await remote.send_part(upload, 3, [memoryview(data[20:])], checksum=digest(remote, data[20:]))
    assert await remote.list_parts(upload) == [replace(again, number=1, etag=lines[0].split()[2].decode(),
                                                       checksum=digest(remote, data[:10])), again]  # fmt: skip


async def test_a_part_of_the_wrong_size_or_number_is_refused(tmp_path: Path) -> None:
    remote = DirectoryRemote(tmp_path)
    upload = await remote.start_upload("k", size=25, part_bytes=10)
    for number, size in ((0, 10), (1, 9), (1, 11), (3, 10), (4, 5)):
        with pytest.raises(InvalidArgument):
            await remote.send_part(upload, number, [memoryview(bytes(size))], checksum=None)


async def test_an_incomplete_or_foreign_set_of_parts_is_refused(tmp_path: Path) -> None:
    remote = DirectoryRemote(tmp_path)
    upload = await remote.start_upload("k", size=20, part_bytes=10)
    parts = [await remote.send_part(upload, n, [memoryview(pattern(10, n))], checksum=None) for n in (1, 2)]
    for wrong in (parts[:1], parts[::-1], [], [parts[0], Part(2, 10, "other")]):
        with pytest.raises(InvalidArgument):
            await remote.complete_upload(upload, wrong, checksum=None)
    (tmp_path / UPLOADS / upload.id / "data").write_bytes(b"short")
    with pytest.raises(IntegrityError):
        await remote.complete_upload(upload, parts, checksum=None)
    assert await keys_below(remote, "") == []


@pytest.mark.parametrize("identity", ["", ".", "..", "../x", "0" * 32, "tmp-" + "0" * 28])
async def test_an_upload_id_is_never_a_path(tmp_path: Path, identity: str) -> None:
    remote = DirectoryRemote(tmp_path)
    (tmp_path / "k").write_text("precious")
    with pytest.raises(NotFound):
        await remote.list_parts(Upload("k", identity))
    await remote.abort_upload(Upload("k", identity))
    assert (tmp_path / "k").exists()


async def test_writers_and_deleters_of_one_folder_do_not_trip_over_each_other(tmp_path: Path) -> None:
    remotes = [DirectoryRemote(tmp_path), DirectoryRemote(tmp_path)]

    async def work(number: int) -> None:
        for _ in range(20):
            await remotes[number % 2].write(f"deep/folder/{number}", b"x")
            await remotes[number % 2].delete(f"deep/folder/{number}")

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(work(number))
    assert not (tmp_path / "deep").exists()


async def test_what_writers_that_died_left_goes_after_a_week(tmp_path: Path) -> None:
    await DirectoryRemote(tmp_path).write("k", b"x")
    uploads = tmp_path / UPLOADS
    (uploads / "tmp-old").write_bytes(b"x")
    (uploads / "tmp-young").write_bytes(b"x")
    (uploads / "tmp-folder").mkdir()
    (uploads / "tmp-folder/data").write_bytes(b"x")
    upload = await DirectoryRemote(tmp_path).start_upload("k2", size=10, part_bytes=10)
    for path in (uploads / "tmp-old", uploads / "tmp-folder", uploads / upload.id):
        os.utime(path, (0, 0))
    await DirectoryRemote(tmp_path).write("k", b"y")
    assert sorted(path.name for path in uploads.iterdir()) == sorted(["lock", "tmp-young", upload.id])
