"""Tensors that lie in a mapped file."""

from __future__ import annotations

import mmap

import numpy as np

from bentosync.loader.device.dtypes import DTYPES, torch_shape
from bentosync.loader.device.framework import Tensor, torch


def mapped(
    memory: mmap.mmap, offset: int, size: int, dtype: str, shape: tuple[int, ...], *, own: bool = False
) -> Tensor:
    """The tensor of safetensors type `dtype` at `offset` of a mapping, which it keeps alive.

    As with `safetensors.safe_open` its storage is its own bytes and not the whole file's: saving or sending it takes no
    more than it is. One that is not aligned to its elements is a copy, with `own` each is.
    """
    kind, shape = DTYPES[dtype], torch_shape(dtype, shape)
    if not size:
        return torch.empty(shape, dtype=kind)
    if own or offset % kind.itemsize:
        # numpy, because torch's clone starts a team of OpenMP threads, for whom a forked child waits for ever.
        flat = torch.from_numpy(np.frombuffer(memory, np.uint8, size, offset).copy()).view(kind)
    else:
        flat = torch.frombuffer(memory, dtype=kind, count=size // kind.itemsize, offset=offset)
    return flat.view(*shape) if shape else flat.view(())  # a shape in one piece takes torch three times as long
