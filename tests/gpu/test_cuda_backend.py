"""What `loader.device.cuda` relies on and promises, one test each; nothing of it can be seen without a device."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
import torch

from bentosync.errors import OutOfMemory
from bentosync.events import Progress
from bentosync.loader.device import PinRefused, backend_for, cuda
from bentosync.loader.device.pinned import POOL_BYTES_MAX
from bentosync.loader.load import iter_tensors, load_to_device
from bentosync.loader.opening import open_model
from bentosync.loader.options import Options
from bentosync.loader.resolve import Resolved
from bentosync.loader.selection import select
from bentosync.loader.stream import LoadedTensors, TensorStream
from tests.loader.weights import payload, write

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="NO CUDA DEVICE: tests/gpu did not run")

MIB = 1 << 20
COUNT, EACH = 24, 32 * MIB
SLOW = 400_000_000
"""Cycles: a fifth of a second and more."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """768 MiB: three device blocks, three times the slots of a ring."""
    folder = tmp_path_factory.mktemp("backend")
    return write(folder / "w.safetensors", {f"t{n}": ("U8", (EACH,)) for n in range(COUNT)})


@pytest.fixture(scope="module")
def sums(model: Path) -> dict[str, int]:
    return {f"t{n}": int(torch.frombuffer(payload(f"t{n}", EACH), dtype=torch.uint8).sum()) for n in range(COUNT)}


@pytest.fixture(autouse=True)
def clean() -> None:
    gc.collect()
    torch.cuda.empty_cache()


# --- pinned memory


def test_registered_memory_is_pinned_to_torch_and_the_driver() -> None:
    backend = backend_for(torch.device("cuda"))
    memory = backend.host(16 * MIB, pinned=True)
    try:
        assert memory.tensor.is_pinned()
        assert memory.tensor.data_ptr() % 4096 == 0
    finally:
        backend.release(memory, keep=False)
    assert not memory.tensor.is_pinned()


def test_a_copy_from_it_does_not_make_the_caller_wait() -> None:
    backend = backend_for(torch.device("cuda"))
    memory, block = backend.host(16 * MIB, pinned=True), backend.allocate(16 * MIB)

    def start() -> None:
        backend.attach()
        torch.cuda._sleep(SLOW)
        backend.copy(block, 0, memory, 0, 16 * MIB)
        event = backend.record()
        pending.append(not event.query())
        event.synchronize()
        pending.append(event.query())

    pending: list[bool] = []
    thread = threading.Thread(target=start)
    thread.start()
    thread.join(30)
    backend.release(memory, keep=True)
    assert pending == [True, True]


def test_a_second_load_uses_what_the_first_one_pinned(model: Path) -> None:
    def idle() -> set[int]:
        return {memory.tensor.data_ptr() for memory in cuda._pool()._idle}

    first = load_to_device(model, "cuda").report
    kept = idle()
    assert 0 < first.pinned_bytes <= cuda._pool().size_bytes <= POOL_BYTES_MAX
    assert load_to_device(model, "cuda").report.pinned_bytes <= POOL_BYTES_MAX // 2
    assert kept <= idle()  # it may have needed more of them at once, but none was given up and made anew


def test_two_loads_at_once_stay_below_the_limit_and_a_third_makes_do(model: Path, sums: dict[str, int]) -> None:
    streams = [iter_tensors(model, "cuda", on_event=lambda event: None) for _ in range(3)]
    for steps in zip(*streams, strict=True):  # in lockstep, from one thread: nobody may wait for another's slots
        for name, tensor in steps:
            assert int(tensor.sum()) == sums[name]
        assert cuda._pool().size_bytes <= POOL_BYTES_MAX
    for stream in streams:
        stream.close()


def test_an_error_of_the_driver_that_we_handle_is_not_the_next_kernels() -> None:
    cudart = torch.cuda.cudart()
    torch.zeros(1, device="cuda")
    assert int(cudart.cudaHostRegister(1 << 12, 1 << 12, 0)) != 0  # nothing is mapped there
    cuda._forget_error()
    assert torch.ones(10, device="cuda").sum().item() == 10


def test_no_host_memory_is_a_refusal_not_a_crash() -> None:
    with pytest.raises(PinRefused):
        cuda._pin(1 << 50)


def test_a_failed_load_frees_its_pinned_memory(model: Path) -> None:
    def interrupt(event: object) -> None:
        if isinstance(event, Progress) and event.done_bytes > event.total_bytes // 2:
            signal.raise_signal(signal.SIGINT)

    load_to_device(model, "cuda")
    idle = cuda._pool().size_bytes
    before = torch.cuda.memory_allocated()
    with pytest.raises(KeyboardInterrupt):
        load_to_device(model, "cuda", on_event=interrupt)
    assert cuda._pool().size_bytes < idle
    assert torch.cuda.memory_allocated() == before
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("bentosync")]


# --- order


def test_tensors_wait_for_copies_that_are_late(model: Path, sums: dict[str, int]) -> None:
    backend = backend_for(torch.device("cuda"))
    with torch.cuda.stream(backend._stream):  # type: ignore[attr-defined]
        torch.cuda._sleep(SLOW)
    opening = open_model(Resolved("m", model, model.parent), Options("cuda"), backend=backend)
    stream = TensorStream(opening, select(opening.checkpoint.headers), began=0.0, closes=True)
    totals = {name: tensor.sum(dtype=torch.int64) for name, tensor in stream}
    assert {name: int(total) for name, total in totals.items()} == sums


def test_copies_wait_for_kernels_that_still_read_recycled_memory(model: Path, sums: dict[str, int]) -> None:
    """A caller that drops each tensor while a slow kernel still has to read it gets the right sums."""
    totals = {}
    with iter_tensors(model, "cuda") as stream:
        for name, tensor in stream:
            torch.cuda._sleep(SLOW // 20)
            totals[name] = tensor.sum(dtype=torch.int64)
            del tensor
    assert {name: int(total) for name, total in totals.items()} == sums


def test_a_stream_of_the_callers_own_is_waited_for_and_waits(model: Path, sums: dict[str, int]) -> None:
    own = torch.cuda.Stream()
    with torch.cuda.stream(own):
        busy = torch.full((256 * MIB,), 3, dtype=torch.uint8, device="cuda")
        torch.cuda._sleep(SLOW)
        total = busy.sum(dtype=torch.int64)
        del busy  # free to the allocator, not yet to the device
        loaded = load_to_device(model, "cuda")
        totals = {name: tensor.sum(dtype=torch.int64) for name, tensor in loaded.items()}
    own.synchronize()
    assert int(total) == 3 * 256 * MIB
    assert {name: int(value) for name, value in totals.items()} == sums


# --- memory


def test_out_of_memory_says_need_and_free_and_leaves_nothing(model: Path) -> None:
    before, (_, total) = torch.cuda.memory_allocated(), torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved() + 600 * MIB) / total))
    try:
        with pytest.raises(OutOfMemory, match=rf"free; this load needs {COUNT * EACH} bytes"):
            load_to_device(model, "cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    gc.collect()
    assert torch.cuda.memory_allocated() == before


def test_blocks_are_aligned_and_come_from_torchs_allocator() -> None:
    backend = backend_for(torch.device("cuda"))
    before = torch.cuda.memory_allocated()
    block = backend.allocate(1000)
    assert block.tensor.data_ptr() % 256 == 0
    assert torch.cuda.memory_allocated() > before
    assert block.memory is None


def test_nineteen_thousand_tensors_are_views_of_a_few_blocks(tmp_path: Path) -> None:
    path = write(tmp_path / "many.safetensors", {f"expert.{n}": ("BF16", (32, 64)) for n in range(19_000)})
    loaded = load_to_device(path, "cuda")
    assert len(loaded) == 19_000
    assert len({tensor.untyped_storage().data_ptr() for tensor in loaded.values()}) == 1
    name = "expert.18999"
    assert loaded[name].view(torch.uint8).cpu().numpy().tobytes() == payload(name, 4096)


# --- processes and devices


def test_a_child_forked_after_cuda_was_used_is_told_so(model: Path) -> None:
    torch.zeros(1, device="cuda")
    code = f"""if True:
        import os, sys, torch
        torch.zeros(1, device="cuda")
        child = os.fork()
        if child == 0:
            from bentosync.errors import InvalidArgument
            from bentosync.loader.load import load_to_device
            try:
                load_to_device({str(model)!r}, "cuda")
            except InvalidArgument as error:
                os._exit(0 if "forked" in error.message and "spawn" in error.hint else 2)
            os._exit(1)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_a_child_forked_after_a_load_does_not_disturb_the_next_one(model: Path, sums: dict[str, int]) -> None:
    load_to_device(model, "cuda")  # leaves pinned slots behind
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns about any fork with threads
        child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    try:
        loaded = load_to_device(model, "cuda")
        assert {name: int(tensor.sum(dtype=torch.int64)) for name, tensor in loaded.items()} == sums
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one device only")
def test_a_load_to_the_second_device_makes_no_context_on_the_first(model: Path) -> None:
    code = f"""if True:
        from bentosync.loader.load import load_to_device
        import torch
        load_to_device({str(model)!r}, "cuda:1", strict=True)
        print(torch._C._cuda_hasPrimaryContext(0), torch._C._cuda_hasPrimaryContext(1))
    """
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "True"]


def test_the_command_prints_what_was_pinned_and_held(model: Path, tmp_path: Path) -> None:
    loaded = LoadedTensors.of(iter_tensors(model, "cuda"))
    text = str(loaded.report)
    assert "pinned 0 B" not in text
    assert "device peak 0 B" not in text
