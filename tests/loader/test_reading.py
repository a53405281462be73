"""Local reads on the CPU: what lands in its block, and what takes the slot."""

from __future__ import annotations

from pathlib import Path

import pytest

from bentosync.errors import IntegrityError
from bentosync.loader.device import backend_for, parse_device
from bentosync.loader.plan import Copy, Read
from bentosync.loader.proof import Proof
from bentosync.loader.reading import FileReading
from bentosync.loader.source import WeightFile
from bentosync.loader.staging import Slot
from tests.loader.test_proof import entry
from tests.loader.weights import payload

MIB = 1 << 20
DATA = payload("reading", 2 * MIB)


class Laps:
    def lap(self, stage: str) -> None:
        pass


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "w").write_bytes(DATA)
    return tmp_path / "w"


def bring(path: Path, read: Read, proofs: dict[int, Proof] | None = None) -> tuple[bytes, bytes]:
    """What is then in the block, and in the slot."""
    backend = backend_for(parse_device("cpu"))
    block, slot = backend.allocate(2 * MIB), Slot(backend.host(2 * MIB, pinned=False))
    block.tensor.fill_(0)
    with WeightFile(path) as file:
        FileReading([file], proofs or {}, backend).bring(read, slot, lambda number: block, Laps())
    assert block.memory is not None
    return bytes(block.memory), bytes(slot.memory.view)


def test_a_read_for_one_place_lands_there_and_leaves_the_slot_alone(path: Path) -> None:
    block, slot = bring(path, Read(0, MIB, 1000, (Copy(0, 0, 256, 1000),)))
    assert block == bytes(256) + DATA[MIB : MIB + 1000] + bytes(2 * MIB - 1256)
    assert not any(slot)


@pytest.mark.parametrize(
    "copies",
    [(Copy(10, 0, 256, 990),), (Copy(0, 0, 0, 990),), (Copy(0, 0, 0, 400), Copy(500, 0, 512, 500))],
    ids=["header before", "rest behind", "two places"],
)
@pytest.mark.parametrize("proven", [False, True])
def test_a_read_for_several_places_is_scattered_over_them_unless_it_is_to_be_proven(
    path: Path, copies: tuple[Copy, ...], proven: bool
) -> None:
    size = MIB if proven else 1000
    block, slot = bring(path, Read(0, 0, size, copies), {0: Proof(entry(DATA, "w"), "full")} if proven else None)
    rest, expected = bytearray(DATA[:size]), bytearray(2 * MIB)
    for copy in copies:
        expected[copy.block_offset : copy.block_offset + copy.size] = DATA[copy.slot_offset :][: copy.size]
        rest[copy.slot_offset : copy.slot_offset + copy.size] = bytes(copy.size)
    assert block == expected
    assert slot[:size] == (DATA[:size] if proven else rest)


def test_a_read_for_more_places_than_the_kernel_takes_at_once_takes_the_slot(path: Path) -> None:
    copies = tuple(Copy(2 * index, 0, 16 * index, 1) for index in range(600))
    block, slot = bring(path, Read(0, 0, 1200, copies))
    assert slot[:1200] == DATA[:1200]
    assert block[: 16 * 600 : 16] == DATA[:1200:2]


def test_what_lands_in_its_block_is_proven_there(path: Path) -> None:
    proof = Proof(entry(DATA, "w"), "full")
    read = Read(0, MIB, MIB, (Copy(0, 0, 0, MIB),))
    assert bring(path, read, {0: proof})[0][:MIB] == DATA[MIB:]
    path.write_bytes(DATA[:-1] + b"?")
    with pytest.raises(IntegrityError, match="differs"):
        bring(path, read, {0: proof})
