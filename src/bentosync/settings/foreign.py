"""What the environment says in the words of others: AWS's and Dropbox's variables, and those that name proxies."""

from __future__ import annotations

import os
from collections.abc import Mapping


def aws(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables of AWS's tools, as they are now."""
    return {name: value for name, value in environ.items() if name.startswith("AWS_")}


def dropbox(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`access_token`, `refresh_token`, `app_key` and `app_secret`, from the variables `DROPBOX_…`, where they are."""
    names = ("access_token", "refresh_token", "app_key", "app_secret")
    return {name: value for name in names if (value := environ.get(f"DROPBOX_{name.upper()}"))}


def names_a_proxy(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether some variable might name a proxy (`HTTPS_PROXY`, `all_proxy`, …)."""
    return any(name[-6:].lower() == "_proxy" for name in environ)
