"""The loader on a real CUDA device: everything the fake device cannot show. One command: `pytest tests/gpu`.

Without CUDA every test here is skipped, and says so in the summary.
"""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bentosync.errors import OutOfMemory
from bentosync.loader.load import iter_tensors, load_to_device, open_tensors
from tests.loader.weights import payload, write

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="NO CUDA DEVICE: tests/gpu did not run")

MIB = 1 << 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """640 MiB over two files: several device blocks, small tensors at odd places, more bytes than the ring has."""
    path = tmp_path_factory.mktemp("gpu")
    large = {f"large.{n}": ("BF16", (2048, 8192)) for n in range(10)}
    small = {f"small.{n}": ("F32", (n + 1,)) for n in range(300)} | {"odd": ("U8", (3,)), "none": ("F32", (0, 4))}
    write(path / "a.safetensors", large)
    write(path / "b.safetensors", small | {f"wide.{n}": ("BF16", (2048, 8192)) for n in range(10)}, shift=5)
    return path


@pytest.fixture(scope="module")
def reference(model: Path) -> dict[str, torch.Tensor]:
    return load_file(model / "a.safetensors") | load_file(model / "b.safetensors")


@pytest.fixture(autouse=True)
def clean() -> None:
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def same(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Equal type, shape and bits."""
    bits = [tensor.cpu().contiguous().reshape(-1).view(torch.uint8) for tensor in (left, right)]
    return left.dtype == right.dtype and left.shape == right.shape and torch.equal(*bits)


def test_every_tensor_arrives_bit_exact(model: Path, reference: dict[str, torch.Tensor]) -> None:
    loaded = load_to_device(model, "cuda", strict=True)
    assert loaded.keys() == reference.keys()
    assert all(tensor.is_cuda and same(tensor, reference[name]) for name, tensor in loaded.items())


def test_every_tensor_is_aligned_for_vector_loads(model: Path) -> None:
    assert all(tensor.data_ptr() % 16 == 0 for tensor in load_to_device(model, "cuda").values() if tensor.numel())


def test_a_tensor_may_be_used_at_once_on_the_stream_of_the_caller(
    model: Path, reference: dict[str, torch.Tensor]
) -> None:
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream), iter_tensors(model, "cuda") as tensors:
        copies = {name: tensor.clone() for name, tensor in tensors}  # no synchronize in between
    stream.synchronize()
    assert all(same(copies[name], reference[name]) for name in reference)


def test_work_the_caller_has_queued_on_recycled_memory_is_finished_first(model: Path) -> None:
    busy = torch.full((512 * MIB,), 7, dtype=torch.uint8, device="cuda")
    total = torch.zeros((), dtype=torch.int64, device="cuda")
    for _ in range(20):
        total += busy.sum()
    del busy  # its memory may become a block of the load while the sums still run
    load_to_device(model, "cuda")
    assert int(total) == 20 * 7 * 512 * MIB


def test_peak_memory_is_the_weights_and_at_most_one_block(model: Path) -> None:
    before = torch.cuda.memory_allocated()
    loaded = load_to_device(model, "cuda")
    peak = torch.cuda.max_memory_allocated() - before
    assert peak <= loaded.report.bytes + 288 * MIB
    assert loaded.report.pinned_bytes <= 512 * MIB
    assert loaded.report.device_peak_bytes >= loaded.report.bytes


def test_all_memory_comes_back_when_the_tensors_go(model: Path) -> None:
    before = torch.cuda.memory_allocated()
    loaded = load_to_device(model, "cuda")
    del loaded
    gc.collect()
    assert torch.cuda.memory_allocated() == before


def test_out_of_memory_frees_all_while_it_is_handled_and_a_second_try_succeeds(model: Path) -> None:
    before, (_, total) = torch.cuda.memory_allocated(), torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(min(1.0, (before + 400 * MIB) / total))
    try:
        load_to_device(model, "cuda")
    except OutOfMemory as error:
        assert torch.cuda.memory_allocated() == before
        assert "free" in error.message
    else:
        pytest.fail("nothing was raised")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert len(load_to_device(model, "cuda")) == 322


def test_a_cast_happens_on_the_device_and_keeps_no_second_copy(model: Path, reference: dict[str, torch.Tensor]) -> None:
    before = torch.cuda.memory_allocated()
    loaded = load_to_device(model, "cuda", tensors="large.*", dtype="float16")
    assert all(torch.equal(loaded[name].cpu(), reference[name].to(torch.float16)) for name in loaded)
    gc.collect()
    assert torch.cuda.memory_allocated() - before <= sum(tensor.nbytes for tensor in loaded.values()) + 2 * MIB


def test_own_frees_each_tensor_alone(model: Path) -> None:
    loaded = load_to_device(model, "cuda", tensors="large.*", own=True)
    full = torch.cuda.memory_allocated()
    del loaded["large.3"]
    assert full - torch.cuda.memory_allocated() >= 32 * MIB


def test_rows_and_slices_read_what_they_name(model: Path, reference: dict[str, torch.Tensor]) -> None:
    loaded = load_to_device(model, "cuda", tensors="large.0", plan={"large.0": slice(100, 300)})
    assert same(loaded["large.0"], reference["large.0"][100:300])
    with open_tensors(model, "cuda") as file:
        assert same(file.get_slice("wide.1")[5:9, 17], reference["wide.1"][5:9, 17])


def test_two_loads_at_once(model: Path, reference: dict[str, torch.Tensor]) -> None:
    failures: list[BaseException] = []

    def load() -> None:
        try:
            loaded = load_to_device(model, "cuda", tensors="large.*")
            assert all(same(tensor, reference[name]) for name, tensor in loaded.items())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


def test_a_cold_file_read_past_the_page_cache_arrives_bit_exact(tmp_path: Path) -> None:
    path = write(tmp_path / "cold.safetensors", {"a": ("U8", (100 * MIB + 123,))})
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    loaded = load_to_device(path, "cuda")
    assert loaded["a"].cpu().numpy().tobytes() == payload("a", 100 * MIB + 123)
    assert loaded.report.path in ("direct", "page-cache")  # tmpfs and overlays have no direct reads
