"""The three ways to load a model. They share one path: resolve, open, select, then views of a mapping or the pipeline.

A reference is a tag (`name[:version]`), a `Model` of the store, a directory, or a `.safetensors` file. What comes out
is ordinary tensors: they outlive everything here. Nothing is kept between loads, nothing runs before the first one,
and any number of loads may run at once; a process that forks may load in the parent and in the child (CUDA itself
does not survive a fork).
"""

from __future__ import annotations

import time
from os import PathLike
from typing import Any, TypeAlias

from bentosync.events import Observer, ignore
from bentosync.loader.cache import Cache
from bentosync.loader.distant import open_distant
from bentosync.loader.opening import Opening, open_model
from bentosync.loader.options import Options
from bentosync.loader.resolve import resolve
from bentosync.loader.selection import RowPlan, Selector, select
from bentosync.loader.stream import LoadedTensors, TensorStream
from bentosync.loader.tensor_file import TensorFile
from bentosync.settings import Settings
from bentosync.store.model import Model

Ref: TypeAlias = str | Model | PathLike[str]


def load_to_device(
    ref: Ref,
    device: Any = "cuda",
    *,
    tensors: Selector = None,
    dtype: Any = None,
    plan: RowPlan = None,
    remote: str | None = None,
    cache: str = "tee",
    verify: str = "auto",
    staging: str = "auto",
    own: bool = False,
    strict: bool = False,
    refresh: bool = False,
    on_event: Observer | None = None,
    settings: Settings | None = None,
) -> LoadedTensors:
    """Load a model's tensors.

    Tensors have the shape and type of the file; on a staged load (CUDA, or `staging="force"`) they are contiguous,
    16-aligned views of blocks of 256 MiB or more (on the CPU 8 MiB), each of which lives as long as one of its
    tensors. On the CPU they are else views of private mappings: writing to one changes neither the file nor another
    load, and truncating the file in place while they are in use kills the process (SIGBUS), as it does under
    safetensors itself. CUDA tensors belong to the stream that is current now; on another one use them as you would any
    tensor of torch.

    Args:
        ref: `name[:version]`, a `Model`, a directory, or a `.safetensors` file. Strings with a separator, or ending in
            `.safetensors`, are paths.
        device: `cpu`, `cuda`, `cuda:N`, N, or a torch.device. Without CUDA: one warning, and CPU tensors.
        tensors: Only these: a name or glob, several of them, or a predicate over names.
        dtype: Cast floating-point tensors to this type, on the device.
        plan: `{name: slice}`: only these rows (dimension 0, step 1) of the tensors it names; the others stay whole.
        remote: Where to fetch a version from that the store lacks, a name or URL; default the default remote.
        cache: What a version that comes from a remote leaves in the store. `tee`: it is written while it is loaded,
            and published by a thread behind this call (`report.cache.wait()`); of some tensors only, what was fetched
            is kept for a later pull. `none`: nothing. `first`: it is pulled, then loaded.
        verify: `off`; `auto`: check what changed since its digests were recorded (staged loads; mapped ones warn);
            `full`: XXH3 of every byte read; `strong`: BLAKE3. The last two always stage.
        staging: `force` reads into memory of its own on the CPU too, instead of mapping.
        own: Every tensor gets memory of its own.
        strict: A CUDA device that is not there is an error.
        refresh: For a name without version, ask the remote for its latest instead of taking the store's.
        on_event: Called from this thread with `Started`, `Progress` and `Warned` events.
        settings: Of the store; the process's own by default.

    Raises:
        NotFound: No such model or version here or on the remote; no such file or tensor.
        UnsafeInput: A malformed header, or an index its shards contradict.
        IntegrityError: A file changed while it was read, or differs from its digests.
        OutOfMemory: The device has no room; everything allocated for this load is free again.
        InvalidArgument: An argument outside what is said above, or a type this torch does not have.
        LocalIOError: The disk refuses.
        MissingExtra: torch is not installed.
    """
    return LoadedTensors.of(stream_of(ref, Options.of(locals()), kept=True))


def iter_tensors(
    ref: Ref,
    device: Any = "cuda",
    *,
    tensors: Selector = None,
    dtype: Any = None,
    plan: RowPlan = None,
    remote: str | None = None,
    cache: str = "tee",
    verify: str = "auto",
    staging: str = "auto",
    own: bool = False,
    strict: bool = False,
    refresh: bool = False,
    on_event: Observer | None = None,
    settings: Settings | None = None,
) -> TensorStream:
    """`(name, tensor)` pairs in the order in which they become ready; arguments and errors as `load_to_device`.

    A caller that drops tensors as they come holds at most about 1 GiB of blocks at a time, whatever the model's size;
    on the CPU 8 MiB for each CPU and 8 more, or two of its largest tensors, in memory that is used again.
    """
    return stream_of(ref, Options.of(locals()))


def open_tensors(
    ref: Ref,
    device: Any = "cpu",
    *,
    tensors: Selector = None,
    dtype: Any = None,
    plan: RowPlan = None,
    remote: str | None = None,
    cache: str = "tee",
    verify: str = "auto",
    staging: str = "auto",
    own: bool = False,
    strict: bool = False,
    refresh: bool = False,
    on_event: Observer | None = None,
    settings: Settings | None = None,
) -> TensorFile:
    """The model as an object like `safetensors.safe_open` gives; arguments and errors as `load_to_device`.

    Of a version that is only on a remote names, shapes and types come with its manifest; a tensor, or the rows of a
    slice, fetches the blocks (1 MiB) it lies in. What was fetched is kept as a partial for a later load or pull;
    `cache="none"` keeps nothing, `cache="first"` pulls the version before it is opened.
    """
    asked = Options.of(locals())
    opening = open_distant(ref, asked, lasting=True) or _opened(ref, asked)
    try:
        return TensorFile(opening)
    except BaseException:
        opening.close()
        raise


def stream_of(ref: Ref, asked: Options, *, kept: bool = False) -> TensorStream:
    """What the functions above share: the stream that `asked` describes. `kept`: the caller drops no tensor of it."""
    began = time.perf_counter()
    opening = open_distant(ref, asked) or _opened(ref, asked)
    try:
        if isinstance(opening, Opening):
            opening.kept = kept
        wanted = select(opening.checkpoint.headers, asked.tensors, asked.plan)
        return TensorStream(opening, wanted, began=began, closes=True)
    except BaseException:
        opening.close()
        raise


def _opened(ref: Ref, asked: Options) -> Opening:
    observer = asked.on_event or ignore
    resolved = resolve(ref, asked.settings, remote=asked.remote, refresh=asked.refresh, observer=observer)
    opening = open_model(resolved, asked)
    if resolved.pulled:
        opening.cache = Cache("pull", "published")
    return opening
