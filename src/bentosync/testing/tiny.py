"""A model of a few KiB with known tensors: real safetensors in two types, and the file that usually lies beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

_ROWS = 32
_COLUMNS = 16


def tiny_tensors() -> dict[str, NDArray[Any]]:
    """The tensors of `tiny_model`, by name; every value tells its place.

    Returns:
        `embedding.weight` F32 [32, 16], `linear.weight` F16 [16, 16], `linear.bias` F16 [16].
    """
    count = np.arange(_ROWS * _COLUMNS, dtype=np.float32)
    return {
        "embedding.weight": count.reshape(_ROWS, _COLUMNS),
        "linear.weight": count[: _COLUMNS * _COLUMNS].reshape(_COLUMNS, _COLUMNS).astype(np.float16),
        "linear.bias": -count[:_COLUMNS].astype(np.float16),
    }


def write_tiny(folder: Path) -> None:
    """Write `model.safetensors` and `config.json` into an existing folder."""
    save_file(tiny_tensors(), folder / "model.safetensors")
    config = {"model_type": "tiny", "vocab_size": _ROWS, "hidden_size": _COLUMNS}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
