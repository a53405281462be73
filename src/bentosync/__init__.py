"""The door to bentosync.

Everything here is imported on first use, so that `import bentosync` (and the command line) starts at once. Nothing
inside the package imports this module.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bentosync import aio as aio
    from bentosync import models as models
    from bentosync.errors import BentoMLException as BentoMLException
    from bentosync.loader.load import iter_tensors as iter_tensors
    from bentosync.loader.load import load_to_device as load_to_device
    from bentosync.loader.load import open_tensors as open_tensors
    from bentosync.models import BentoModel as BentoModel
    from bentosync.models import Model as Model
    from bentosync.models import pull as pull
    from bentosync.models import push as push
    from bentosync.tag import Tag as Tag

    __version__: str

logging.getLogger(__name__).addHandler(logging.NullHandler())

_HOME = {
    "BentoMLException": "bentosync.errors",
    "BentoModel": "bentosync.models",
    "Model": "bentosync.models",
    "Tag": "bentosync.tag",
    "iter_tensors": "bentosync.loader.load",
    "load_to_device": "bentosync.loader.load",
    "open_tensors": "bentosync.loader.load",
    "pull": "bentosync.models",
    "push": "bentosync.models",
}
_MODULES = ("aio", "errors", "events", "models", "settings")

__all__ = [
    "BentoMLException",
    "BentoModel",
    "Model",
    "Tag",
    "__version__",
    "aio",
    "iter_tensors",
    "load_to_device",
    "models",
    "open_tensors",
    "pull",
    "push",
]


def __getattr__(name: str) -> Any:
    value: Any
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    elif name in _MODULES:
        value = import_module(f"bentosync.{name}")
    elif name == "__version__":
        value = import_module("importlib.metadata").version("bentosync")
    else:
        raise AttributeError(f"module 'bentosync' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
