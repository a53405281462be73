"""The ways from safetensors files to tensors that `bench_load` compares, and where rivals are installed.

An arm is a function of files, device and settings, with the settings worth trying. The first settings are the defaults.
Rivals are installed one by one into folders of their own (`build/perf/loaders`), because two versions of safetensors
are among them, and only the process that measures one sees its folder.

    python -m perf.loaders                          # install what is missing, from the package index
    python -m perf.loaders --wheels DIR --fetch     # download the wheels into DIR, for a machine without network
    python -m perf.loaders --wheels DIR             # install from there
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HOME = Path(__file__).parents[1] / "build" / "perf" / "loaders"

Tensors = dict[str, Any]
Settings = Mapping[str, Any]
Load = Callable[..., tuple[Tensors, Any]]


@dataclass(frozen=True)
class Arm:
    """One loader, or one way to use it.

    `load(files, device, **settings)` returns tensors by name and a report or None. Settings in capitals are environment
    variables, set before the process starts. `lazy`: tensors come before their bytes do. `packed`: the loader has a
    format of its own, written outside the clock. `modules` are imported before it starts.
    """

    name: str
    load: Load
    devices: frozenset[str]
    modules: tuple[str, ...]
    lazy: bool = False
    packed: bool = False
    requires: tuple[str, ...] = ()
    settings: tuple[Settings, ...] = field(default=({},))

    @property
    def folder(self) -> Path | None:
        """Where it is installed, if it is not part of our environment."""
        return HOME / self.requires[0].replace("==", "-") if self.requires else None


def ours(files: Sequence[Path], device: str, **options: Any) -> tuple[Tensors, Any]:
    from bentosync.loader.load import load_to_device

    loaded = load_to_device(files[0].parent, device, strict=True, **options)
    return loaded, loaded.report


def ours_dropped(files: Sequence[Path], device: str) -> tuple[Tensors, Any]:
    """As a caller does who passes every tensor on and keeps none: memory is used again."""
    from bentosync.loader.load import iter_tensors

    with iter_tensors(files[0].parent, device, staging="force", strict=True) as stream:
        for _ in stream:
            pass
    return {}, stream.report


def load_file(files: Sequence[Path], device: str, **options: Any) -> tuple[Tensors, Any]:
    from safetensors.torch import load_file

    tensors: Tensors = {}
    for file in files:
        tensors.update(load_file(file, device=device, **options))
    return tensors, None


def safe_open(files: Sequence[Path], device: str) -> tuple[Tensors, Any]:
    from safetensors import safe_open

    tensors: Tensors = {}
    for path in files:
        with safe_open(path, framework="pt", device=device) as file:
            tensors.update({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return tensors, None


def prefetch(files: Sequence[Path], device: str, *, threads: int = 8, shards: str = "all") -> tuple[Tensors, Any]:
    """safetensors 0.9: all shards in flight, or one after the other."""
    from safetensors import safe_open

    tensors: Tensors = {}
    for group in [files] if shards == "all" else [[file] for file in files]:
        with ExitStack() as stack:
            opened = [stack.enter_context(safe_open(f, framework="pt", device=device)) for f in group]
            for loader in [stack.enter_context(file.prefetch(threads=threads)) for file in opened]:
                tensors.update(loader)
    return tensors, None


def instanttensor(files: Sequence[Path], device: str, **options: Any) -> tuple[Tensors, Any]:
    import instanttensor

    with instanttensor.safe_open([str(f) for f in files], framework="pt", device=0, **options) as file:
        return dict(file.tensors()), None


def fastsafetensors(files: Sequence[Path], device: str) -> tuple[Tensors, Any]:
    from fastsafetensors import fastsafe_open

    with fastsafe_open([str(f) for f in files], framework="pt", device=device, nogds=True) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, None  # noqa: SIM118


def fastsafetensors_parallel(files: Sequence[Path], device: str, **options: Any) -> tuple[Tensors, Any]:
    """As vLLM uses it."""
    from fastsafetensors import ParallelLoader

    loader = ParallelLoader(None, [str(f) for f in files], device=device, nogds=True, use_tqdm_on_load=False, **options)
    try:
        return dict(loader.iterate_weights()), None
    finally:
        loader.close()


def runai(files: Sequence[Path], device: str) -> tuple[Tensors, Any]:
    from runai_model_streamer import SafetensorsStreamer

    with SafetensorsStreamer() as streamer:
        streamer.stream_files([str(f) for f in files], device=device)
        return dict(streamer.get_tensors()), None


def flashpack(files: Sequence[Path], device: str, **options: Any) -> tuple[Tensors, Any]:
    from flashpack.deserialization import iterate_from_flash_tensor, read_flashpack_file

    tensors: Tensors = {}
    for file in files:
        storage, metadata = read_flashpack_file(str(packed(file)), device=device, **options)
        tensors.update(iterate_from_flash_tensor(storage, metadata))
    return tensors, None


def pack(files: Sequence[Path]) -> None:
    """The files in flashpack's own format, beside them."""
    from flashpack import pack_to_file
    from safetensors.torch import load_file

    for file in files:
        pack_to_file(load_file(file), str(packed(file)), target_dtype=None)


def packed(file: Path) -> Path:
    return file.parent.with_name(file.parent.name + "-packed") / file.with_suffix(".flashpack").name


_CPU, _CUDA = frozenset({"cpu"}), frozenset({"cuda"})
_BOTH = _CPU | _CUDA
_OURS, _SAFETENSORS = ("bentosync.loader.load",), ("safetensors.torch",)
_FASTSAFETENSORS = ("fastsafetensors==0.5.0",)

ARMS = [
    Arm("bentosync", ours, _CUDA, _OURS),
    Arm("bentosync mapped", ours, _CPU, _OURS, lazy=True),
    Arm("bentosync staged", lambda files, device: ours(files, device, staging="force"), _CPU, _OURS),
    Arm("bentosync staged, dropped", ours_dropped, _CPU, _OURS),
    Arm("safetensors load_file", load_file, _BOTH, _SAFETENSORS, lazy=True),
    Arm("safetensors load_file pread", lambda files, device: load_file(files, device, backend="pread"), _BOTH,
        _SAFETENSORS),
    Arm("safetensors safe_open", safe_open, _BOTH, _SAFETENSORS, lazy=True),
    Arm("safetensors 0.9 prefetch", prefetch, _CUDA, _SAFETENSORS, requires=("safetensors==0.9.0rc1",),
        settings=({}, {"threads": 12}, {"threads": 16}, {"shards": "one"}, {"shards": "one", "threads": 16})),
    Arm("InstantTensor", instanttensor, _CUDA, ("instanttensor",), requires=("instanttensor==0.2.2",),
        settings=({}, *({"INSTANTTENSOR_BACKEND": name} for name in ("URING_BUFFERED", "AIO_BUFFERED", "MMAP")),
                  {"INSTANTTENSOR_BACKEND": "URING_BUFFERED", "io_depth": 32}, {"io_depth": 64})),
    Arm("fastsafetensors", fastsafetensors, _BOTH, ("fastsafetensors",), requires=_FASTSAFETENSORS,
        settings=({}, {"FASTSAFETENSORS_ODIRECT": "0"})),
    Arm("fastsafetensors parallel", fastsafetensors_parallel, _BOTH, ("fastsafetensors",), requires=_FASTSAFETENSORS,
        settings=({}, *({"FASTSAFETENSORS_ODIRECT": "0", "max_threads": n} for n in (8, 16, 32)))),
    Arm("Run:ai streamer", runai, _BOTH, ("runai_model_streamer",),
        requires=("runai-model-streamer==0.17.0", "humanize"),
        settings=({}, *({"RUNAI_STREAMER_CONCURRENCY": n} for n in (2, 8, 16, 32)))),
    Arm("flashpack", flashpack, _BOTH, ("flashpack.deserialization",), lazy=True, packed=True,
        requires=("flashpack==0.4.5", "accelerate", "click"),
        settings=({}, {"chunk_bytes": 16 << 20, "num_streams": 8})),
]  # fmt: skip


def arms(kind: str) -> list[Arm]:
    """Those that know a kind of device: `cpu` or `cuda`."""
    return [arm for arm in ARMS if kind in arm.devices]


def installed(arm: Arm) -> bool:
    """Whether it can be measured here."""
    return arm.folder is None or arm.folder.is_dir()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--fetch", action="store_true", help="only download")
    arguments = parser.parse_args()
    pip = [sys.executable, "-m", "pip"]
    for arm in {arm.folder: arm for arm in ARMS if arm.folder is not None}.values():
        if arguments.fetch:
            command = [*pip, "download", "--no-deps", "--dest", str(arguments.wheels), *arm.requires]
        elif installed(arm):
            continue
        else:
            source = ["--no-index", "--find-links", str(arguments.wheels)] if arguments.wheels else []
            once = ["--retries", "1"]  # a machine without network should say so soon
            command = [*pip, "install", "--no-deps", *once, *source, "--target", str(arm.folder), *arm.requires]
        if subprocess.run(command, check=False).returncode:
            print(f"{arm.name} is left out", file=sys.stderr)


if __name__ == "__main__":
    main()
