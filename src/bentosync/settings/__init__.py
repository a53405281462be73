"""Settings: frozen values, read once. This package is the only reader of environment variables and config files.

Precedence: explicit argument, environment, `bentosync.toml` (or `[tool.bentosync]` of `pyproject.toml`) of the
working directory, the user's config file, default.
"""

from bentosync.settings.choose import choose_remote, other_remote, parse_url, remote_at
from bentosync.settings.foreign import aws, dropbox, names_a_proxy
from bentosync.settings.load import Found, Resolved, load, resolve, terminal, user_config_path
from bentosync.settings.values import (
    Addressing,
    Encryption,
    LogLevel,
    NativeMode,
    ProgressMode,
    RemoteSettings,
    Settings,
    TerminalSettings,
    TransferSettings,
)

__all__ = [
    "Addressing",
    "Encryption",
    "Found",
    "LogLevel",
    "NativeMode",
    "ProgressMode",
    "RemoteSettings",
    "Resolved",
    "Settings",
    "TerminalSettings",
    "TransferSettings",
    "aws",
    "choose_remote",
    "dropbox",
    "load",
    "names_a_proxy",
    "other_remote",
    "parse_url",
    "remote_at",
    "resolve",
    "terminal",
    "user_config_path",
]
