"""What the environment says in the words of others: AWS's variables, and those that name proxies."""

from __future__ import annotations

import os
from collections.abc import Mapping


def aws(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables of AWS's tools, as they are now."""
    return {name: value for name, value in environ.items() if name.startswith("AWS_")}


def names_a_proxy(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether some variable might name a proxy (`HTTPS_PROXY`, `all_proxy`, …)."""
    return any(name[-6:].lower() == "_proxy" for name in environ)
