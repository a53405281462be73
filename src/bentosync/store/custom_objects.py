"""custom_objects.pkl: Python objects saved beside a model, by cloudpickle as BentoML saves them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from bentosync.errors import MissingExtra


@contextlib.contextmanager
def by_value(modules: Sequence[ModuleType]) -> Iterator[None]:
    """Within, objects from these modules are pickled with their code, so that who loads them need not have it.

    Raises:
        MissingExtra: cloudpickle is not installed.
    """
    if not modules:
        yield
        return
    cloudpickle = required()
    known = cloudpickle.list_registry_pickle_by_value()
    added = [module for module in modules if module.__name__ not in known]
    for module in added:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in added:
            cloudpickle.unregister_pickle_by_value(module)


def dumps(objects: dict[str, Any]) -> bytes:
    """The file's bytes.

    Raises:
        MissingExtra: cloudpickle is not installed.
    """
    return bytes(required().dumps(objects))


def required() -> Any:
    """The cloudpickle module.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        import cloudpickle
    except ImportError as error:
        raise MissingExtra(
            "custom_objects and external_modules are written with cloudpickle, which is not installed",
            hint="pip install cloudpickle",
        ) from error
    return cloudpickle
