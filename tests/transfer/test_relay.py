"""Parts on their way between remotes: proven unit by unit, and no wait for a buffer that nobody will give back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bentosync.errors import IntegrityError
from bentosync.formats.digester import FileDigester
from bentosync.manifest.values import BLOCK_BYTES, LEAF_BYTES, FileEntry
from bentosync.remote.contract import Condition
from bentosync.remote.directory import DirectoryRemote
from bentosync.transfer.relay import Passage, ProvenPart, Relay
from bentosync.transfer.tally import Tally
from tests.blocks import content

SIZE = LEAF_BYTES + 3 * BLOCK_BYTES + 17
DATA = content(7, SIZE)


def entry(data: bytes = DATA, path: str = "file") -> FileEntry:
    digester = FileDigester(path, len(data), False)
    digester.update(memoryview(data))
    return digester.finish()


def feed(sink: ProvenPart, data: bytes) -> None:
    taken = 0
    while taken < len(data):
        view = sink.buffer()[:100_000]
        count = min(len(view), len(data) - taken)
        view[:count] = data[taken : taken + count]
        sink.filled(count)
        taken += count


@pytest.mark.parametrize("strong", [False, True])
def test_a_part_that_is_right_is_taken_whole(strong: bool) -> None:
    memory = memoryview(bytearray(SIZE))
    sink = ProvenPart(entry(), 0, memory, strong=strong)
    feed(sink, DATA)
    assert (bytes(memory), sink.rewind()) == (DATA, SIZE)


@pytest.mark.parametrize(("strong", "kept"), [(False, 2 * BLOCK_BYTES), (True, 0)])
def test_after_a_bad_block_only_what_was_proven_counts(strong: bool, kept: int) -> None:
    bad = bytearray(DATA)
    bad[2 * BLOCK_BYTES + 5] ^= 1
    sink = ProvenPart(entry(), 0, memoryview(bytearray(SIZE)), strong=strong)
    with pytest.raises(IntegrityError) as caught:
        feed(sink, bytes(bad))
    assert caught.value.retryable
    assert sink.rewind() == kept
    feed(sink, DATA[kept:])
    assert sink.rewind() == SIZE


def test_a_later_part_is_proven_at_its_own_place() -> None:
    sink = ProvenPart(entry(), LEAF_BYTES, memoryview(bytearray(SIZE - LEAF_BYTES)), strong=True)
    feed(sink, DATA[LEAF_BYTES:])
    wrong = ProvenPart(entry(), 0, memoryview(bytearray(LEAF_BYTES)), strong=False)
    with pytest.raises(IntegrityError):
        feed(wrong, DATA[SIZE - LEAF_BYTES :])


class Forgetful(DirectoryRemote):
    """Every write succeeds and is reported as if its first reply had been lost and it had been tried again."""

    async def write(self, key: str, data: object, *, condition: Condition = None, checksum: bytes | None = None) -> str:  # type: ignore[override]
        await super().write(key, data, condition=condition, checksum=checksum)  # type: ignore[arg-type]
        return await super().write(key, data, condition=condition, checksum=checksum)  # type: ignore[arg-type]


async def test_lost_replies_with_a_single_buffer_neither_hang_nor_fail(tmp_path: Path) -> None:
    source, target = DirectoryRemote(tmp_path / "a"), Forgetful(tmp_path / "b")
    passages = []
    for number in range(6):
        data = content(number, 3 * BLOCK_BYTES + number)
        await source.write(f"s{number}", data)
        passages.append(Passage(entry(data, f"{number}"), f"s{number}", f"t{number}"))
    told: list[int] = []
    relay = Relay(
        source, target, jobs=4, memory_bytes=1, strong=False, exclusive=True, resumed=False,
        tally=Tally(lambda path, count: told.append(count)),
    )  # fmt: skip
    async with asyncio.timeout(30):
        await relay.run(passages)
    assert sum(told) == sum(passage.entry.size for passage in passages)
    for number in range(6):
        assert (tmp_path / f"b/t{number}").read_bytes() == content(number, 3 * BLOCK_BYTES + number)
