"""From a reference to an open checkpoint with every decision made: device, way of reading, what is proven.

| device | file system | staging | way |
|---|---|---|---|
| CPU | local | auto | private mapping: no byte is read before it is touched |
| CPU | network, or `verify` full or strong | any | staged: what was read and proven is what is handed out |
| CPU | any | force | staged |
| CUDA | any | any | staged |

Digests: with a record whose stamp holds, `auto` trusts the file. Where the stamp is missing (a file younger than two
seconds has none) or does not hold, a staged load proves every block it reads; a mapped load, which reads nothing,
warns once if the file did change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bentosync import cpus
from bentosync.errors import IntegrityError, InvalidArgument
from bentosync.loader.cache import Cache
from bentosync.loader.checkpoint import Checkpoint
from bentosync.loader.device import Backend, backend_for, parse_device, why_no_cuda
from bentosync.loader.filesystem import is_network
from bentosync.loader.options import Options
from bentosync.loader.proof import Proof, Strength
from bentosync.loader.report import Verified
from bentosync.loader.resolve import Resolved
from bentosync.loader.sizing import Sizing, sizing
from bentosync.loader.source import WeightFile


@dataclass(slots=True)
class Opening:
    """An open model. `close()` closes its files; tensors already made outlive it.

    `kept`: no tensor will be dropped while others are loaded, so no memory will be free to be used again.
    """

    label: str
    checkpoint: Checkpoint
    backend: Backend
    mapped: bool
    proofs: Mapping[int, Proof]
    verified: Verified
    options: Options
    sizes: Sizing | None = None
    kept: bool = False
    cache: Cache = field(default_factory=lambda: Cache("none", "none"))

    def sizing(self, *, direct: bool) -> Sizing:
        """Numbers for a staged load of this model."""
        if self.sizes is not None:
            return self.sizes
        strength = next((proof.strength for proof in self.proofs.values()), None)
        return sizing(to_device=self.backend.name != "cpu", direct=direct, strength=strength, cpus=cpus.usable())

    def close(self) -> None:
        """Close every file."""
        self.checkpoint.close()


def open_model(
    resolved: Resolved, asked: Options, *, backend: Backend | None = None, sizes: Sizing | None = None
) -> Opening:
    """Open the model. `backend` replaces the one `asked.device` names, `sizes` what the machine would suggest.

    Raises:
        NotFound: No such file, or no safetensors in the directory.
        UnsafeInput: A header or index is malformed.
        InvalidArgument: The device, or (with `strict`) a CUDA device that is not there; verify without a record.
    """
    chosen = backend or chosen_backend(asked)
    checkpoint = Checkpoint(resolved.path)
    try:
        proving = asked.verify in ("full", "strong") or (asked.verify == "auto" and _in_doubt(resolved, checkpoint))
        local = not any(is_network(file.fileno()) for file in checkpoint.files)
        mapped = chosen.name == "cpu" and asked.staging == "auto" and local and not proving
        proofs, verified = _proofs(resolved, checkpoint, asked, mapped=mapped)
    except BaseException:
        checkpoint.close()
        raise
    return Opening(resolved.label, checkpoint, chosen, mapped, proofs, verified, asked, sizes)


def chosen_backend(asked: Options) -> Backend:
    """The device that was asked for, or the CPU with a warning. Raises `InvalidArgument` if `strict` forbids that."""
    device = parse_device(asked.device)
    reason = why_no_cuda(device) if device.type == "cuda" else None
    if reason is None:
        return backend_for(device)
    if asked.strict:
        raise InvalidArgument(
            f"cannot load to {device}: {reason}", hint="name the device cpu, or leave out strict to fall back to it"
        )
    asked.warn(f"{reason}: loading to the CPU instead of {device}")
    return backend_for(parse_device("cpu"))


def _proofs(
    resolved: Resolved, checkpoint: Checkpoint, asked: Options, *, mapped: bool
) -> tuple[Mapping[int, Proof], Verified]:
    """What must be proven, by file number, and what the report says about it."""
    if asked.verify == "off":
        return {}, "off"
    record = resolved.record
    if record is None:
        if asked.verify == "auto":
            return {}, "off"
        raise InvalidArgument(
            f"verify={asked.verify!r}: nothing is recorded about {resolved.label} to check it against",
            hint="load a model of the store by its tag, or leave verify at auto",
        )
    stamps = [record.stamps.get(_inside(resolved, file)) for file in checkpoint.files]
    if mapped:
        changed = [
            file.path.name
            for file, stamp in zip(checkpoint.files, stamps, strict=True)
            if stamp not in (None, file.stamp)
        ]
        if changed:
            asked.warn(f"{resolved.label} changed since it was recorded ({changed[0]}); `bentosync verify` checks it")
        trusted = all(file.stamp == stamp for file, stamp in zip(checkpoint.files, stamps, strict=True))
        return {}, "trusted" if trusted else "off"
    suspects = [
        index
        for index, (file, stamp) in enumerate(zip(checkpoint.files, stamps, strict=True))
        if asked.verify != "auto" or file.stamp != stamp
    ]
    if not suspects:
        return {}, "trusted"
    strength: Strength = "strong" if asked.verify == "strong" or resolved.pinned else "full"
    entries = {entry.path: entry for entry in record.manifest.files}
    proofs = {}
    for index in suspects:
        file = checkpoint.files[index]
        entry = entries.get(_inside(resolved, file))
        if entry is None:
            raise IntegrityError(f"{file.path} is not part of {resolved.label} as it was recorded")
        proofs[index] = Proof(entry, strength)
        proofs[index].check_size(file.size)
    return proofs, strength


def _in_doubt(resolved: Resolved, checkpoint: Checkpoint) -> bool:
    """Whether a pin was given that the recorded stamps cannot vouch for: then a warning is not enough."""
    record = resolved.record
    return resolved.pinned and not (
        record and all(file.stamp == record.stamps.get(_inside(resolved, file)) for file in checkpoint.files)
    )


def _inside(resolved: Resolved, file: WeightFile) -> str:
    """The file's path within its version, as manifests spell it."""
    root: Path = resolved.root
    return file.path.relative_to(root).as_posix() if file.path.is_relative_to(root) else file.path.name
