from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest
import torch

from bentosync.errors import OutOfMemory
from bentosync.loader.device import populate, view
from bentosync.loader.device.cpu import Cpu

MIB = 1 << 20


def address(block: object) -> int:
    return int(block.tensor.data_ptr())  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [0, 1, 1000, 4 * MIB, 9 * MIB + 5])
def test_a_block_is_as_long_as_asked_aligned_and_the_same_bytes_for_readers(size: int) -> None:
    block = Cpu().allocate(size)
    assert len(block.tensor) == len(block.memory) == size
    assert address(block) % 256 == 0
    if size:
        block.memory[size - 1 :] = b"x"
        assert block.tensor[-1] == ord("x")


def test_memory_is_used_again_once_every_tensor_in_it_is_gone_and_not_before() -> None:
    cpu = Cpu()
    first = cpu.allocate(8 * MIB)
    where, tensor = address(first), view(first, 256, "F32", (1,))
    del first
    second = cpu.allocate(8 * MIB)
    assert address(second) != where
    del tensor
    assert address(cpu.allocate(8 * MIB)) == where
    assert cpu.peak_bytes() == 16 * MIB


@pytest.mark.parametrize(("size", "mib_in_all", "fresh"), [(8, 32, False), (20, 32, False), (40, 40, True)])
def test_memory_of_another_size_is_cut_or_grown_and_keeps_its_pages(size: int, mib_in_all: int, fresh: bool) -> None:
    cpu = Cpu()
    cpu.allocate(32 * MIB).tensor.fill_(7)
    block = cpu.allocate(size * MIB)
    assert bytes(block.memory[: 8 * MIB]) == b"\7" * (8 * MIB)  # nobody else had it meanwhile
    assert bytes(block.memory[32 * MIB :]) == bytes(max(0, size - 32) * MIB)
    assert (block.fresh, cpu.peak_bytes()) == (fresh, mib_in_all * MIB)


def test_of_the_memory_that_fits_the_one_used_last_is_used_next() -> None:
    cpu = Cpu()
    first, second = cpu.allocate(8 * MIB), cpu.allocate(8 * MIB)
    where = address(second)
    del first
    del second
    assert address(cpu.allocate(8 * MIB)) == where


def test_pages_are_made_at_once_where_they_are_asked_for() -> None:
    block = Cpu().allocate(64 * MIB)
    before = anonymous_bytes()
    populate(address(block) + 5, 32 * MIB)
    assert block.fresh
    if anonymous_bytes() == before:
        pytest.skip("this kernel has no MADV_POPULATE_WRITE")
    assert 32 * MIB <= anonymous_bytes() - before < 40 * MIB


def anonymous_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise AssertionError


def test_memory_goes_back_to_the_system_with_its_tensors_when_the_load_is_over() -> None:
    cpu = Cpu()
    tensor = cpu.allocate(64 * MIB).tensor.fill_(1)
    del cpu
    before = anonymous_bytes()
    del tensor
    assert before - anonymous_bytes() >= 60 * MIB


def test_what_is_kept_for_later_blocks_is_bounded() -> None:
    cpu = Cpu()
    blocks = [cpu.allocate(64 * MIB) for _ in range(8)]
    del blocks
    assert sum(map(len, cpu._returned._idle)) <= 256 * MIB


def test_a_forked_child_does_not_write_into_its_parents_tensors() -> None:
    block = Cpu().allocate(8 * MIB)
    block.tensor.fill_(1)
    child = os.fork()
    if child == 0:
        block.memory[:1] = b"\2"
        os._exit(0)
    os.waitpid(child, 0)
    assert block.tensor[0] == 1


def test_more_memory_than_there_is_address_space_is_out_of_memory_with_a_hint() -> None:
    for size in (1 << 50, 1 << 62):
        with pytest.raises(OutOfMemory, match=str(size)) as caught:
            Cpu().allocate(size)
        assert caught.value.hint


def test_copies_land_where_they_are_told() -> None:
    cpu = Cpu()
    block, source = cpu.allocate(100), cpu.host(mmap.PAGESIZE, pinned=False)
    block.tensor.fill_(0)
    source.view[7:10] = b"abc"
    cpu.copy(block, 50, source, 7, 3)
    assert bytes(block.memory) == b"\0" * 50 + b"abc" + b"\0" * 47
    assert torch.equal(block.tensor[50:53], torch.tensor([97, 98, 99], dtype=torch.uint8))
