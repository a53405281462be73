"""torch, or the error that says how to get it. The only module of bentosync that imports it."""

from __future__ import annotations

from typing import TypeAlias

from bentosync.errors import MissingExtra

try:
    import torch as torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise MissingExtra("loading tensors needs torch", hint='pip install "bentosync[torch]"') from None

Tensor: TypeAlias = torch.Tensor
