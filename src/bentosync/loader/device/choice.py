"""Which device is meant, whether it is there, and the backend for it."""

from __future__ import annotations

from typing import Any

from bentosync.errors import InvalidArgument
from bentosync.loader.device.backend import Backend
from bentosync.loader.device.cpu import Cpu
from bentosync.loader.device.cuda import Cuda
from bentosync.loader.device.framework import torch


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
    """A backend for one load to `device`, whose memory is taken from the caller's current stream.

    Raises:
        InvalidArgument: CUDA was used before this process was forked: it does not work in the child.
    """
    if device.type == "cpu":
        return Cpu()
    if torch.cuda._is_in_bad_fork():
        raise InvalidArgument(
            f"cannot load to {device}: CUDA was used before this process was forked, and does not survive that",
            hint='start the process by "spawn" (multiprocessing.set_start_method), or load before anything uses CUDA',
        )
    torch.cuda.init()
    return Cuda(torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index))
