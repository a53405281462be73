"""What every remote promises: the contract of `remote.contract` as tests.

A test module makes a subclass and provides the fixture `place`, which says how to open the remote under test on an
empty prefix, any number of times.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import pytest

from bentosync.errors import BentoMLException, Conflict, IntegrityError, NotFound, UnsafeInput
from bentosync.native import checksum as checksums
from bentosync.remote.contract import Blob, IfAbsent, IfMatch, Located, Part, Remote, Upload

MIB = 1 << 20
PART = 5 * MIB
ODD_KEYS = ["a b", "a+b", "a%20b", "a#b", "a?b=c&d", "é", "日本", "a'b(c)!*~", "a=b;c,d@e:f$g", "deep/er/still.txt"]


@dataclass(frozen=True)
class Place:
    """Where the remote under test is. A store that is not strict accepts wrong checksums, and fails oddly.

    `batches` says whether `write_all` has a short way there, which a wire for proxies has not.
    """

    connect: Callable[[], Remote]
    strict: bool = True
    batches: bool = True

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Remote]:
        remote = self.connect()
        try:
            yield remote
        finally:
            await remote.aclose()

    def refusing_damage(self) -> contextlib.AbstractContextManager[object]:
        """Expects a refusal of bytes that differ from their checksum; moto takes them, which is known."""
        return pytest.raises(IntegrityError) if self.strict else contextlib.nullcontext()


class Collector:
    """A sink with one small buffer that it hands out again and again."""

    def __init__(self, buffer_bytes: int = 100_000) -> None:
        self.memory = bytearray(buffer_bytes)
        self.data = bytearray()

    def buffer(self) -> memoryview:
        return memoryview(self.memory)

    def filled(self, count: int) -> None:
        assert 0 < count <= len(self.memory)
        self.data += self.memory[:count]

    def rewind(self) -> int:
        return len(self.data)


def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes that differ from position to position and from seed to seed."""
    return b"".join((seed * 0x10001 + number).to_bytes(8, "little") for number in range(size // 8 + 1))[:size]


def digest(remote: Remote, data: bytes) -> bytes | None:
    """The full-object checksum that `remote` asks for."""
    if (name := remote.properties.checksum) is None:
        return None
    kind = checksums.named(name)
    return kind.update(data).to_bytes(kind.size_bytes, "big")


async def send_all(remote: Remote, upload: Upload, data: bytes) -> list[Part]:
    """Every part of `data`."""
    pieces = [data[begin : begin + PART] for begin in range(0, len(data), PART)]
    return [
        await remote.send_part(upload, number, [memoryview(piece)], checksum=digest(remote, piece))
        for number, piece in enumerate(pieces, 1)
    ]


async def keys_below(remote: Remote, prefix: str) -> list[str]:
    return [found.key async for found in remote.list(prefix)]


async def outcomes(calls: Sequence[Callable[[], object]]) -> list[object]:
    """What all calls, run at once, returned or raised."""

    async def one(call: Callable[[], object]) -> object:
        try:
            return await call()  # type: ignore[misc]
        except BentoMLException as error:
            return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(call)) for call in calls]
    return [task.result() for task in tasks]


class RemoteConformance:
    """The suite."""

    @pytest.mark.parametrize("data", [b"", b"x", pattern(300_000)], ids=["empty", "one byte", "large"])
    async def test_what_was_written_is_read_and_described(self, place: Place, data: bytes) -> None:
        async with place.open() as remote:
            etag = await remote.write("folder/object", data, checksum=digest(remote, data))
            entity = await remote.read("folder/object", bytes_max=len(data))
            found = await remote.stat("folder/object")
        assert entity.data == data
        assert entity.etag == etag
        assert (found.key, found.size, found.etag) == ("folder/object", len(data), etag)
        assert found.modified_at > 1_600_000_000
        assert found.checksum in (None, digest(remote, data))

    async def test_buffers_are_written_one_after_the_other(self, place: Place) -> None:
        data = pattern(2 * MIB)
        async with place.open() as remote:
            await remote.write("o", [memoryview(data)[:17], memoryview(data)[17:17], memoryview(data)[17:]])
            assert (await remote.read("o", bytes_max=4 * MIB)).data == data

    async def test_a_write_without_condition_replaces(self, place: Place) -> None:
        async with place.open() as remote:
            first = await remote.write("o", b"one")
            second = await remote.write("o", b"two")
            assert (await remote.read("o", bytes_max=10)).data == b"two"
        assert first != second

    async def test_what_is_missing_is_not_found(self, place: Place) -> None:
        async with place.open() as remote:
            with pytest.raises(NotFound, match="nothing/here"):
                await remote.read("nothing/here", bytes_max=10)
            with pytest.raises(NotFound, match="nothing/here"):
                await remote.stat("nothing/here")
            sink = Collector()
            with pytest.raises(NotFound, match="nothing/here"):
                await remote.read_range("nothing/here", 0, 1, sink)
        assert not sink.data

    async def test_a_store_copies_its_own_objects_or_says_that_it_does_not(self, place: Place) -> None:
        data = pattern(2 * MIB)
        async with place.open() as remote:
            await remote.write("folder/a b+c%é", data)
            located = await remote.locate("folder/a b+c%é")
            copied = located is not None and await remote.copy(located, "files/other", size=len(data))
            assert copied == (located is not None)
            if copied:
                assert (await remote.read("files/other", bytes_max=len(data))).data == data
                assert (await remote.stat("files/other")).checksum in (None, digest(remote, data))

    async def test_an_object_of_another_store_is_not_ours_to_copy(self, place: Place) -> None:
        async with place.open() as remote:
            assert not await remote.copy(Located("https://elsewhere.example", "bucket/key"), "o", size=1)
            assert await keys_below(remote, "") == []

    async def test_a_folder_is_not_an_object(self, place: Place) -> None:
        async with place.open() as remote:
            await remote.write("folder/object", b"x")
            with pytest.raises(NotFound):
                await remote.stat("folder")
            await remote.delete("folder")
            assert await keys_below(remote, "") == ["folder/object"]

    async def test_an_object_longer_than_allowed_is_not_read(self, place: Place) -> None:
        async with place.open() as remote:
            await remote.write("o", b"12345")
            with pytest.raises(UnsafeInput):
                await remote.read("o", bytes_max=4)
            assert (await remote.read("o", bytes_max=5)).data == b"12345"

    @pytest.mark.parametrize(
        ("start", "length"), [(0, 1), (0, 1_000_000), (1, 999_999), (99_999, 100_002), (999_999, 1)]
    )
    async def test_a_range_arrives_exactly(self, place: Place, start: int, length: int) -> None:
        data = pattern(1_000_000)
        async with place.open() as remote:
            etag = await remote.write("o", data)
            for known in (None, etag):
                sink = Collector()
                assert await remote.read_range("o", start, length, sink, etag=known) == etag
                assert bytes(sink.data) == data[start : start + length]

    @pytest.mark.parametrize(("start", "length"), [(0, 11), (5, 6), (10, 1), (1000, 5)])
    async def test_a_range_beyond_the_end_is_an_integrity_error_and_nothing_arrives(
        self, place: Place, start: int, length: int
    ) -> None:
        sink = Collector()
        async with place.open() as remote:
            await remote.write("o", b"0123456789")
            with pytest.raises(IntegrityError):
                await remote.read_range("o", start, length, sink)
        assert not sink.data

    async def test_a_range_of_another_state_of_the_object_is_a_conflict_and_nothing_arrives(self, place: Place) -> None:
        sink = Collector()
        async with place.open() as remote:
            etag = await remote.write("o", b"0123456789")
            await remote.write("o", b"abcdefghij")
            with pytest.raises(Conflict):
                await remote.read_range("o", 0, 5, sink, etag=etag)
        assert not sink.data

    async def test_after_a_cancelled_range_nothing_touches_the_buffer(self, place: Place) -> None:
        data = pattern(8 * MIB)
        sink = Collector(1000)
        started = asyncio.Event()

        class Slow(Collector):
            def filled(self, count: int) -> None:
                started.set()

        sink = Slow(1000)
        async with place.open() as remote:
            await remote.write("o", data)
            async with asyncio.TaskGroup() as group:
                call = group.create_task(remote.read_range("o", 0, len(data), sink))
                await started.wait()
                call.cancel()
            sink.memory[:] = b"\xff" * 1000
            await asyncio.sleep(0.05)
            assert bytes(sink.memory) == b"\xff" * 1000

    async def test_many_ranges_at_once_do_not_mix(self, place: Place) -> None:
        data = pattern(4 * MIB)
        async with place.open() as remote:
            await remote.write("o", data)
            sinks = [Collector() for _ in range(16)]
            async with asyncio.TaskGroup() as group:
                for number, sink in enumerate(sinks):
                    group.create_task(remote.read_range("o", number * MIB // 4, MIB // 4, sink))
        assert b"".join(bytes(sink.data) for sink in sinks) == data

    async def test_keys_with_special_characters_are_kept_apart(self, place: Place) -> None:
        async with place.open() as remote:
            for key in ODD_KEYS:
                await remote.write(key, key.encode())
            for key in ODD_KEYS:
                assert (await remote.read(key, bytes_max=100)).data == key.encode()
            assert sorted(await keys_below(remote, "")) == sorted(ODD_KEYS)
            for key in ODD_KEYS:
                await remote.delete(key)
            assert await keys_below(remote, "") == []

    async def test_a_listing_has_exactly_what_starts_with_the_prefix(self, place: Place) -> None:
        keys = ["m/a.txt", "m/a/b/c", "m/ab", "m/b", "n"]
        async with place.open() as remote:
            for key in keys:
                await remote.write(key, b"x" * len(key))
            found = {found.key: found.size async for found in remote.list("")}
            assert found == {key: len(key) for key in keys}
            assert sorted(await keys_below(remote, "m/a")) == ["m/a.txt", "m/a/b/c", "m/ab"]
            assert await keys_below(remote, "m/a/") == ["m/a/b/c"]
            assert await keys_below(remote, "nothing") == []
            etags = {found.key: found.etag async for found in remote.list("n")}
            assert etags == {"n": (await remote.stat("n")).etag}

    async def test_deleting_twice_is_fine(self, place: Place) -> None:
        async with place.open() as remote:
            await remote.write("folder/o", b"x")
            await remote.delete("folder/o")
            await remote.delete("folder/o")
            with pytest.raises(NotFound):
                await remote.stat("folder/o")

    async def test_a_conditional_delete_takes_what_was_seen_and_where_it_can_nothing_else(self, place: Place) -> None:
        async with place.open() as remote:
            first = await remote.write("o", b"first")
            second = await remote.write("o", b"second")
            if place.strict:
                with pytest.raises(Conflict):
                    await remote.delete("o", condition=IfMatch(first))
                assert (await remote.read("o", bytes_max=10)).data == b"second"
            await remote.delete("o", condition=IfMatch(second))
            assert await keys_below(remote, "o") == []

    async def test_if_absent_never_replaces(self, place: Place) -> None:
        async with place.open() as remote:
            await remote.write("o", b"first", condition=IfAbsent())
            with pytest.raises(Conflict):
                await remote.write("o", b"second", condition=IfAbsent())
            assert (await remote.read("o", bytes_max=10)).data == b"first"

    async def test_if_match_replaces_only_what_was_seen(self, place: Place) -> None:
        async with place.open() as remote:
            first = await remote.write("o", b"first")
            second = await remote.write("o", b"second", condition=IfMatch(first))
            with pytest.raises(Conflict):
                await remote.write("o", b"third", condition=IfMatch(first))
            assert await remote.read("o", bytes_max=10) == await remote.read("o", bytes_max=11)
            assert (await remote.read("o", bytes_max=10)).etag == second
            await remote.delete("o")
            with pytest.raises(Conflict):
                await remote.write("o", b"fourth", condition=IfMatch(second))
            assert await keys_below(remote, "o") == []

    async def test_of_many_who_create_one_key_one_wins(self, place: Place) -> None:
        async with place.open() as remote:
            results = await outcomes(
                [lambda n=n: remote.write("o", b"%d" % n, condition=IfAbsent()) for n in range(8)]  # type: ignore[misc]
            )
            winner = [number for number, result in enumerate(results) if isinstance(result, str)]
            assert len(winner) == 1
            assert all(isinstance(result, str | Conflict) for result in results)
            assert (await remote.read("o", bytes_max=10)).data == b"%d" % winner[0]

    async def test_of_many_who_swap_one_pointer_one_wins(self, place: Place) -> None:
        async with place.open() as remote:
            etag = await remote.write("o", b"start")
            results = await outcomes(
                [lambda n=n: remote.write("o", b"%d" % n, condition=IfMatch(etag)) for n in range(8)]  # type: ignore[misc]
            )
            winner = [number for number, result in enumerate(results) if isinstance(result, str)]
            assert len(winner) == 1
            assert (await remote.read("o", bytes_max=10)).data == b"%d" % winner[0]

    async def test_of_many_small_objects_each_is_stored_or_said_not_to_be(self, place: Place) -> None:
        """One key is taken, one is odd, one is empty; what is said to be stored is, and what was there stays."""
        async with place.open() as remote:
            await remote.write("n/7", b"taken")
            contents = {f"n/{number}": pattern(number * 10, number) for number in range(20)} | {"n/a b+é": b"odd"}
            blobs = [Blob(key, memoryview(data), digest(remote, data)) for key, data in contents.items()]
            stored = await remote.write_all(blobs, condition=IfAbsent(), jobs=4)
            for (key, data), done in zip(contents.items(), stored, strict=True):
                assert done == (place.batches and key != "n/7")
                if key == "n/7":
                    data = b"taken"
                elif not done:
                    await remote.write(key, data, condition=IfAbsent(), checksum=digest(remote, data))
                assert (await remote.read(key, bytes_max=1000)).data == data
            again = [Blob(key, memoryview(b"new"), digest(remote, b"new")) for key in contents]
            assert len(await remote.write_all(again, condition=IfAbsent(), jobs=4)) == len(again)
            assert (await remote.read("n/3", bytes_max=1000)).data == contents["n/3"]
            assert await remote.write_all([], jobs=4) == []

    async def test_many_small_objects_without_condition_replace(self, place: Place) -> None:
        async with place.open() as remote:
            for data in (b"old", b"newer"):
                blobs = [Blob(f"n/{number}", memoryview(data), digest(remote, data)) for number in range(5)]
                for blob, done in zip(blobs, await remote.write_all(blobs, jobs=2), strict=True):
                    assert done == place.batches
                    if not done:
                        await remote.write(blob.key, [blob.data], checksum=blob.checksum)
                    assert (await remote.read(blob.key, bytes_max=10)).data == data

    async def test_damaged_writes_are_refused(self, place: Place) -> None:
        async with place.open() as remote:
            with place.refusing_damage():
                await remote.write("o", b"these bytes", checksum=digest(remote, b"other bytes"))
            assert await keys_below(remote, "") == ([] if place.strict else ["o"])

    async def test_an_upload_is_invisible_until_it_is_complete(self, place: Place) -> None:
        data = pattern(2 * PART + 12_345)
        async with place.open() as remote:
            upload = await remote.start_upload("big/object", size=len(data), part_bytes=PART)
            parts = await send_all(remote, upload, data)
            assert await keys_below(remote, "") == []
            etag = await remote.complete_upload(upload, parts, checksum=digest(remote, data))
            found = await remote.stat("big/object")
            sink = Collector()
            await remote.read_range("big/object", 0, len(data), sink, etag=etag)
            assert [item async for item in remote.list_uploads("")] == []
        assert bytes(sink.data) == data
        assert (found.size, found.etag) == (len(data), etag)
        assert found.checksum in (None, digest(remote, data))

    async def test_an_upload_of_one_short_part_is_fine(self, place: Place) -> None:
        async with place.open() as remote:
            upload = await remote.start_upload("o", size=10, part_bytes=PART)
            await remote.complete_upload(
                upload, await send_all(remote, upload, b"0123456789"), checksum=digest(remote, b"0123456789")
            )
            assert (await remote.read("o", bytes_max=10)).data == b"0123456789"

    async def test_another_process_can_go_on_with_an_upload(self, place: Place) -> None:
        data = pattern(3 * PART)
        async with place.open() as remote:
            upload = await remote.start_upload("folder/o", size=len(data), part_bytes=PART)
            other = await remote.start_upload("folder2/o", size=10, part_bytes=PART)
            for number in (3, 1):
                piece = data[(number - 1) * PART : number * PART]
                await remote.send_part(upload, number, [memoryview(piece)], checksum=digest(remote, piece))
        async with place.open() as remote:
            assert [found async for found in remote.list_uploads("folder/")] == [upload]
            assert {found async for found in remote.list_uploads("fold")} == {upload, other}
            stored = await remote.list_parts(upload)
            assert [(part.number, part.size) for part in stored] == [(1, PART), (3, PART)]
            for part in stored:
                piece = data[(part.number - 1) * PART : part.number * PART]
                assert part.checksum in (None, digest(remote, piece))
                assert part.checksum or part.md5, "nothing proves the part"
            middle = await remote.send_part(
                upload, 2, [memoryview(data)[PART : 2 * PART]], checksum=digest(remote, data[PART : 2 * PART])
            )
            await remote.complete_upload(upload, [stored[0], middle, stored[1]], checksum=digest(remote, data))
            assert (await remote.read("folder/o", bytes_max=len(data))).data == data
            await remote.abort_upload(other)

    async def test_the_same_part_number_again_replaces_the_part(self, place: Place) -> None:
        wrong, right = pattern(PART, 1), pattern(PART, 2)
        async with place.open() as remote:
            upload = await remote.start_upload("o", size=PART, part_bytes=PART)
            await remote.send_part(upload, 1, [memoryview(wrong)], checksum=digest(remote, wrong))
            part = await remote.send_part(upload, 1, [memoryview(right)], checksum=digest(remote, right))
            assert len(await remote.list_parts(upload)) == 1
            await remote.complete_upload(upload, [part], checksum=digest(remote, right))
            assert (await remote.read("o", bytes_max=PART)).data == right

    async def test_an_upload_never_replaces_an_object(self, place: Place) -> None:
        async with place.open() as remote:
            upload = await remote.start_upload("o", size=5, part_bytes=PART)
            parts = await send_all(remote, upload, b"later")
            await remote.write("o", b"first")
            with pytest.raises(Conflict):
                await remote.complete_upload(upload, parts, checksum=digest(remote, b"later"))
            assert (await remote.read("o", bytes_max=10)).data == b"first"
            await remote.abort_upload(upload)

    async def test_a_part_of_other_bytes_than_announced_is_refused(self, place: Place) -> None:
        async with place.open() as remote:
            upload = await remote.start_upload("o", size=5, part_bytes=PART)
            with place.refusing_damage():
                await remote.send_part(upload, 1, [memoryview(b"bytes")], checksum=digest(remote, b"other"))
            assert len(await remote.list_parts(upload)) == (0 if place.strict else 1)
            await remote.abort_upload(upload)

    async def test_an_object_of_other_bytes_than_announced_is_never_completed(self, place: Place) -> None:
        data = pattern(PART + 1)
        async with place.open() as remote:
            upload = await remote.start_upload("o", size=len(data), part_bytes=PART)
            parts = await send_all(remote, upload, data)
            with place.refusing_damage():
                await remote.complete_upload(upload, parts, checksum=digest(remote, data[1:]))
            assert await keys_below(remote, "") == ([] if place.strict else ["o"])
            await remote.abort_upload(upload)

    async def test_an_aborted_upload_is_gone_and_aborting_twice_is_fine(self, place: Place) -> None:
        async with place.open() as remote:
            upload = await remote.start_upload("o", size=5, part_bytes=PART)
            parts = await send_all(remote, upload, b"bytes")
            await remote.abort_upload(upload)
            await remote.abort_upload(upload)
            with pytest.raises(NotFound):
                await remote.list_parts(upload)
            gone = NotFound if place.strict else BentoMLException
            with pytest.raises(gone):
                await remote.send_part(upload, 1, [memoryview(b"bytes")], checksum=None)
            with pytest.raises(gone):
                await remote.complete_upload(upload, parts, checksum=digest(remote, b"bytes"))
            assert await keys_below(remote, "") == []

    async def test_conditions_are_honoured_and_the_probe_leaves_nothing_behind(self, place: Place) -> None:
        async with place.open() as remote:
            assert await remote.conditional_writes()
            assert await remote.conditional_writes()
            assert await keys_below(remote, "") == []

    async def test_closing_twice_is_fine(self, place: Place) -> None:
        async with place.open() as remote:
            await remote.write("o", b"x")
            await remote.aclose()
