"""Devices: where memory comes from, how bytes get there, and what a tensor is. The only module that imports torch.

A `Backend` is the narrow waist of the loader. Its rules, which every implementation keeps and the tests' fake one
checks:

- `allocate` gives memory of the framework's own allocator (so its accounting and its out-of-memory handling hold),
  256-aligned, and orders later copies after whatever the caller's stream still does with recycled memory.
- `copy` may return before the bytes have moved: the source stays untouched until an event recorded after it is done.
- `wait_for` orders the caller's stream after an event: only then may a tensor be handed out.
- `allocate`, `copy`, `record` may be called from any thread; views are made by the caller's thread.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from bentosync.errors import InvalidArgument, MissingExtra, OutOfMemory

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise MissingExtra("loading tensors needs torch", hint='pip install "bentosync[torch]"') from None

Tensor: TypeAlias = torch.Tensor
DType: TypeAlias = torch.dtype

ALIGN_BYTES = 256

_DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F4": "float4_e2m1fn_x2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
}

_PACKED = {"F4": 2}
"""Elements per torch element: torch has no 4-bit tensors, only bytes that hold two, along the last dimension."""


class PinRefused(Exception):
    """The driver gives no (more) pinned memory: RLIMIT_MEMLOCK, a container's limit, or simply none left."""


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Page-aligned host memory: `view` for readers, `tensor` (uint8, the same bytes) for copies."""

    view: memoryview
    tensor: Tensor
    pinned: bool


class Event(Protocol):
    """A point in the order of copies."""

    def query(self) -> bool:
        """Whether every copy before it is done."""

    def synchronize(self) -> None:
        """Wait until they are."""


class Backend(Protocol):
    """One device, for one load. See the module's rules."""

    name: str

    def allocate(self, size: int) -> Tensor:
        """`size` bytes of device memory (uint8). Raises OutOfMemory, naming need and free."""

    def host(self, size: int, *, pinned: bool) -> HostMemory:
        """Host memory for staging. Raises PinRefused when pinned memory was asked for and is refused."""

    def copy(self, target: Tensor, target_offset: int, source: HostMemory, source_offset: int, size: int) -> None:
        """Start copying `size` bytes from host to device memory."""

    def record(self) -> Event:
        """An event after every copy so far."""

    def wait_for(self, event: Event) -> None:
        """Order the caller's current stream after `event`."""

    def synchronize(self) -> None:
        """Wait for every copy so far."""

    def peak_bytes(self) -> int:
        """Most device memory that blocks of this load held at once."""


class _Done:
    """The event of a device whose copies are done when they return."""

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        return None


class _Cpu:
    """Ordinary memory. Copies are done when they return, so events are nothing."""

    name = "cpu"

    def __init__(self) -> None:
        self._allocated = 0

    def allocate(self, size: int) -> Tensor:
        try:
            memory = torch.empty(size + ALIGN_BYTES, dtype=torch.uint8)
        except RuntimeError as error:  # torch raises a plain RuntimeError when malloc fails
            raise OutOfMemory(f"cannot allocate {size} bytes of host memory: {error}") from None
        self._allocated += size
        start = -memory.data_ptr() % ALIGN_BYTES
        return memory[start : start + size]

    def host(self, size: int, *, pinned: bool) -> HostMemory:
        return pageable(size)

    def copy(self, target: Tensor, target_offset: int, source: HostMemory, source_offset: int, size: int) -> None:
        # numpy, because torch's copy_ would start a team of OpenMP threads in every reader; both release the GIL.
        np.copyto(
            target.numpy()[target_offset : target_offset + size],
            np.frombuffer(source.view, np.uint8, size, source_offset),
        )

    def record(self) -> Event:
        return _Done()

    def wait_for(self, event: Event) -> None:
        return None

    def synchronize(self) -> None:
        return None

    def peak_bytes(self) -> int:
        return self._allocated


class _Cuda:
    """Copies on a stream of their own, memory from torch's caching allocator on the caller's stream."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.name = str(device)
        self._caller = torch.cuda.current_stream(device)
        self._stream = torch.cuda.Stream(device)
        self._before = torch.cuda.memory_allocated(device)
        self._peak = 0

    def allocate(self, size: int) -> Tensor:
        try:
            with torch.cuda.stream(self._caller):  # a reader's thread has a current stream of its own
                block = torch.empty(size, dtype=torch.uint8, device=self._device)
        except torch.cuda.OutOfMemoryError:
            free, total = torch.cuda.mem_get_info(self._device)
            raise OutOfMemory(
                f"{self.name} has no room for {size} bytes more: {free} of {total} bytes are free",
                hint="free tensors, load fewer (tensors=, plan=), or another device",
            ) from None
        # Recycled memory may still be in use by kernels the caller has queued.
        ready = torch.cuda.Event()
        ready.record(self._caller)
        self._stream.wait_event(ready)
        self._peak = max(self._peak, torch.cuda.memory_allocated(self._device) - self._before)
        return block

    def host(self, size: int, *, pinned: bool) -> HostMemory:
        if not pinned:
            return pageable(size)
        try:
            tensor = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        except RuntimeError as error:
            raise PinRefused(str(error)) from None
        return HostMemory(memoryview(tensor.numpy()), tensor, pinned=True)

    def copy(self, target: Tensor, target_offset: int, source: HostMemory, source_offset: int, size: int) -> None:
        with torch.cuda.stream(self._stream):
            target[target_offset : target_offset + size].copy_(
                source.tensor[source_offset : source_offset + size], non_blocking=True
            )

    def record(self) -> Event:
        event = torch.cuda.Event()
        event.record(self._stream)
        return event  # type: ignore[no-any-return]

    def wait_for(self, event: Event) -> None:
        torch.cuda.current_stream(self._device).wait_event(event)

    def synchronize(self) -> None:
        self._stream.synchronize()

    def peak_bytes(self) -> int:
        return self._peak


def pageable(size: int) -> HostMemory:
    """Page-aligned memory that is not pinned, untouched: whoever reads into it first pays for its pages."""
    memory = mmap.mmap(-1, size)
    return HostMemory(memoryview(memory), torch.frombuffer(memory, dtype=torch.uint8), pinned=False)


def parse_device(device: Any) -> torch.device:
    """`cpu`, `cuda`, `cuda:1`, an int (a CUDA ordinal) or a torch.device.

    Raises:
        InvalidArgument: Another kind of device.
    """
    try:
        parsed = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InvalidArgument(f"{device!r} is not a device: {error}") from None
    if parsed.type not in ("cpu", "cuda"):
        raise InvalidArgument(f"cannot load to {parsed.type!r}", hint="devices: cpu, cuda, cuda:N")
    return parsed


def why_no_cuda(device: torch.device) -> str | None:
    """Why `device` cannot be used here, or None if it can. Does not create a CUDA context."""
    if not torch.cuda.is_available():
        return "torch was built without CUDA" if torch.version.cuda is None else "torch sees no CUDA device"
    if device.index is not None and device.index >= torch.cuda.device_count():
        return f"there are only {torch.cuda.device_count()} CUDA devices"
    return None


def backend_for(device: torch.device) -> Backend:
    """A backend for one load to `device`."""
    if device.type == "cpu":
        return _Cpu()
    torch.cuda.init()
    return _Cuda(torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index))


def check_dtypes(dtypes: set[str]) -> None:
    """Raise InvalidArgument if this torch has no type for one of the safetensors `dtypes`."""
    missing = sorted(name for name in dtypes if not hasattr(torch, _DTYPES.get(name, "")))
    if missing:
        raise InvalidArgument(
            f"torch {torch.__version__} has no type for {', '.join(missing)}",
            hint="leave those tensors out with tensors=, or install a newer torch",
        )


def parse_dtype(dtype: Any) -> DType | None:
    """A torch.dtype, its name (`bfloat16`, `torch.bfloat16`), or None.

    Raises:
        InvalidArgument: Not a floating-point type; a cast is for floating-point tensors only.
    """
    found = getattr(torch, dtype.removeprefix("torch."), dtype) if isinstance(dtype, str) else dtype
    if found is None:
        return None
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise InvalidArgument(f"dtype={dtype!r} is not a floating-point type of torch")
    return found


def view(block: Tensor, offset: int, size: int, dtype: str, shape: tuple[int, ...], *, own: bool = False) -> Tensor:
    """The tensor of safetensors type `dtype` that lies at `offset` of `block` (uint8); no bytes move unless `own`.

    Without `own` the offset must suit the element type.
    """
    packed = _PACKED.get(dtype)
    if packed:
        if not shape or shape[-1] % packed:
            raise InvalidArgument(
                f"{dtype} tensor of shape {shape}: torch packs {packed} elements of the last dimension"
            )
        shape = (*shape[:-1], shape[-1] // packed)
    kind = getattr(torch, _DTYPES[dtype])
    data = block[offset : offset + size]
    return (data.clone() if own else data).view(kind).view(shape)


def mapped(memory: mmap.mmap) -> Tensor:
    """The bytes of a mapping as a tensor (uint8), which keeps the mapping alive."""
    return torch.frombuffer(memory, dtype=torch.uint8)


def element_bytes(dtype: str) -> int:
    """The alignment a CPU view of `dtype` needs."""
    return int(getattr(torch, _DTYPES[dtype]).itemsize)


def cast(tensor: Tensor, dtype: DType | None) -> Tensor:
    """`tensor` as `dtype` if it is a floating-point tensor of another type, else itself."""
    return tensor if dtype is None or not tensor.is_floating_point() or tensor.dtype == dtype else tensor.to(dtype)
