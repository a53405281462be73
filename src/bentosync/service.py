"""The BentoML that may be running in this process: what it must be told, and what it can tell. Never imported by us.

A service's models are the class variables that BentoML's SDK takes for models: instances of its own abstract class, or
of what is registered with it. Registering asks for nothing but the SDK being there, and the moment that cannot be
missed is the SDK's look at the class variable itself, which goes through `__get__`. So `import bentosync` never
imports BentoML (a second), which is no dependency of ours; and a process without BentoML pays one dictionary lookup.

A Bento that carries its models (in a container) makes BentoML read them from there; `bento_models` finds that out from
the same place as BentoML's own `models.get`. The names of BentoML used here are those of 1.4.39; where they are not
there, nothing is known, and the store alone answers.
"""

from __future__ import annotations

import sys
import warnings
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from bentosync.errors import MissingExtra

BENTO_FILE = "bento.yaml"

_SDK = "_bentoml_sdk.models"
_CONTAINERS = "bentoml._internal.configuration.containers"
_FRAMES_MAX = 30
_OF_THE_HOME = (
    "bentoml_home", "model_store_dir", "model_store", "bento_store_dir", "bento_store", "tmp_bento_store_dir",
    "tmp_bento_store", "env_store_dir", "env_store", "cloud_config", "result_store_file",
)  # fmt: skip


def recognise(kind: type) -> None:
    """Let BentoML take class variables of this type for models of the service. Does nothing without BentoML."""
    sdk = sys.modules.get(_SDK)
    if sdk is not None and not issubclass(kind, sdk.Model):
        sdk.Model.register(kind)


def bento_models() -> Path | None:
    """The `models` folder of the Bento that BentoML has loaded, if that carries its models; None otherwise."""
    containers = sys.modules.get(_CONTAINERS)
    try:
        # Asking for the store itself would make BENTOML_HOME where nothing has set another one.
        folder = Path(vars(containers.BentoMLContainer.model_store)["_override"]._path)  # type: ignore[union-attr]
    except (AttributeError, KeyError, TypeError):
        return None
    return folder if (folder.parent / BENTO_FILE).is_file() else None


def forget_home() -> None:
    """Let BentoML read BENTOML_HOME again, which it otherwise does once in the life of a process."""
    container = getattr(sys.modules.get(_CONTAINERS), "BentoMLContainer", None)
    if container is None:
        return
    from simple_di import sentinel

    for name in _OF_THE_HOME:
        provider: Any = getattr(container, name, None)
        if hasattr(provider, "_cache"):
            provider._cache = sentinel


def model_aliases() -> dict[str, str]:
    """The aliases that the bentofile of the Bento in this process gives to models; unlike those of a remote."""
    containers = sys.modules.get(_CONTAINERS)
    try:
        found = containers.BentoMLContainer.model_aliases.get()  # type: ignore[union-attr]
        return {str(alias): str(tag) for alias, tag in found.items()}
    except AttributeError:
        return {}


def bento_of(owner: type) -> Path | None:
    """The folder of the Bento that the code of a class belongs to; None if it is still in the making."""
    file = getattr(sys.modules.get(owner.__module__), "__file__", None)
    if file is None:
        return None
    source = next((folder for folder in Path(file).resolve().parents if folder.name == "src"), None)
    return source.parent if source is not None and (source.parent / BENTO_FILE).is_file() else None


def warn_in_constructor(call: str, name: str) -> None:
    """Warn if a service's constructor is asking for a model that no class variable of it names.

    Args:
        call: What was called, as in code.
        name: The model's name, without version.
    """
    if _SDK not in sys.modules:
        return
    found = _constructing(sys._getframe(1))
    if found is None:
        return
    service, depth = found
    if any(str(getattr(model, "tag", "")).partition(":")[0] == name for model in service.models):
        return
    warnings.warn(
        f"{call} is called in the constructor of the service {service.name}: the Bento will not contain the model, and "
        f"where it is deployed there is none. Make it a class variable, `model_ref = bentosync.BentoModel('{name}')`, "
        "and use `self.model_ref` here",
        stacklevel=depth + 2,
    )


def _constructing(frame: FrameType | None) -> tuple[Any, int] | None:
    """The service whose constructor is running, and how many frames below the given one."""
    for depth in range(_FRAMES_MAX):
        if frame is None:
            return None
        code = frame.f_code
        if code.co_name == "__init__" and code.co_argcount:
            owner = type(frame.f_locals.get(code.co_varnames[0]))
            # The decorator leaves the service under the name of the class.
            service = getattr(sys.modules.get(owner.__module__), owner.__name__, None)
            if getattr(service, "inner", None) is owner:
                return service, depth
        frame = frame.f_back
    return None


def model_info(tag: str, *, module: str, created: datetime, alias: str | None) -> Any:
    """The entry of a Bento for a model of the store: BentoML's own object.

    Raises:
        MissingExtra: BentoML is not installed.
    """
    try:
        from bentoml._internal.bento.bento import BentoModelInfo
    except ImportError:
        raise _missing() from None
    return BentoModelInfo(tag=tag, module=module, creation_time=created, alias=alias)


def sdk_model(tag: str) -> Any:
    """BentoML's own reference to a model of its store.

    Raises:
        MissingExtra: BentoML is not installed.
    """
    return sdk("BentoModel")(tag)


def sdk(name: str) -> Any:
    """A class of `bentoml.models`.

    Raises:
        MissingExtra: BentoML is not installed.
    """
    try:
        import bentoml.models
    except ImportError:
        raise _missing() from None
    return getattr(bentoml.models, name)


def _missing() -> MissingExtra:
    return MissingExtra("BentoML is not installed", hint='pip install "bentoml>=1.4.39"')
