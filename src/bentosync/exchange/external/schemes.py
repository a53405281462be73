"""Which storage there is: its schemes, the extra that brings its library, and the options that may be given. Pure.

A URL says everything itself: `scheme://user:password@host/path?option=value`. BentoML's arguments `user`, `passwd` and
`params` are the same parts, given one by one. An option that is not in this table is refused: a misspelt one would
silently do nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bentosync.errors import InvalidArgument, Unsupported

Kind: TypeAlias = Literal["text", "number", "yes-no"]

_SECRET = frozenset(
    {"token", "access_token", "refresh_token", "app_secret", "account_key", "sas_token", "connection_string",
     "client_secret", "passphrase"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scheme:
    """One kind of storage.

    `module` is what must be importable and `extra` what brings it; both are empty where bentosync needs nothing more.
    `folders` says whether there are folders besides files.
    """

    name: str
    extra: str = ""
    module: str = ""
    options: Mapping[str, Kind] | None = None
    writable: bool = True
    folders: bool = True

    @property
    def hint(self) -> str:
        """The command that installs what is missing."""
        return f'pip install "bentosync[{self.extra}]"'


_S3 = Scheme(
    "s3",
    options={
        "endpoint_url": "text", "region": "text", "profile": "text", "addressing": "text", "anonymous": "yes-no",
        "ca_bundle": "text", "acl": "text", "cache-control": "text", "storage_class": "text", "sse": "text",
        "sse_kms_key_id": "text", "request_payer": "text", "expected_bucket_owner": "text",
    },
)  # fmt: skip
_GS = Scheme(
    "gs", "gcs", "gcsfs",
    {"project": "text", "token": "text", "endpoint_url": "text", "requester_pays": "yes-no"},
)  # fmt: skip
_AZ = Scheme(
    "az", "azure", "adlfs",
    {
        "account_name": "text", "account_key": "text", "account_host": "text", "connection_string": "text",
        "sas_token": "text", "tenant_id": "text", "client_id": "text", "client_secret": "text", "anon": "yes-no",
    },
)  # fmt: skip
_FTP_OPTIONS: Mapping[str, Kind] = {"encoding": "text", "timeout": "number", "tls": "yes-no"}
_SFTP = Scheme(
    "sftp", "sftp", "sshfs", {"client_keys": "text", "passphrase": "text", "known_hosts": "text", "config": "text"}
)
_WEBDAV_OPTIONS: Mapping[str, Kind] = {"timeout": "number"}

SCHEMES: Mapping[str, Scheme] = {
    "s3": _S3,
    "gs": _GS,
    "gcs": _GS,
    "az": _AZ,
    "abfs": _AZ,
    "ftp": Scheme("ftp", "ftp", "fsspec", _FTP_OPTIONS),
    "ftps": Scheme("ftps", "ftp", "fsspec", _FTP_OPTIONS),
    "sftp": _SFTP,
    "ssh": _SFTP,
    "webdav": Scheme("webdav", "webdav", "webdav4", _WEBDAV_OPTIONS),
    "webdavs": Scheme("webdavs", "webdav", "webdav4", _WEBDAV_OPTIONS),
    "dropbox": Scheme(
        "dropbox", "dropbox", "dropbox",
        {"access_token": "text", "refresh_token": "text", "app_key": "text", "app_secret": "text"},
    ),
    "hf": Scheme("hf", "hf", "huggingface_hub", {"endpoint": "text", "token": "text"}, writable=False),
    "http": Scheme("http", "http", "fsspec", writable=False, folders=False),
    "https": Scheme("https", "http", "fsspec", writable=False, folders=False),
}  # fmt: skip


def scheme(name: str) -> Scheme:
    """The scheme of that name.

    Raises:
        Unsupported: There is none; BentoML's message.
    """
    found = SCHEMES.get(name)
    if found is None:
        raise Unsupported(
            f"Unknown or unsupported protocol {name}. Some supported protocols are 'ftp', 's3', and 'file'.",
            hint=f"all of them: file, {', '.join(SCHEMES)}",
        )
    return found


def checked(of: Scheme, options: Mapping[str, str]) -> dict[str, str]:
    """The options, if the scheme knows all of them.

    Raises:
        InvalidArgument: It does not know one.
    """
    known = of.options or {}
    for name in options:
        if name not in known:
            raise InvalidArgument(
                f"{of.name}: there is no option {name[:80]!a}",
                hint=f"there are {', '.join(known)}" if known else "there is none; everything is in the URL",
            )
    return dict(options)


def is_secret(option: str) -> bool:
    """Whether the value of an option must not be seen."""
    return option in _SECRET


def typed(of: Scheme, options: Mapping[str, str]) -> dict[str, str | float | bool]:
    """The options as the values they stand for.

    Raises:
        InvalidArgument: One is no value of its kind.
    """
    return {name: _value(name, (of.options or {})[name], text) for name, text in options.items()}


def _value(name: str, kind: Kind, text: str) -> str | float | bool:
    if kind == "text":
        return text
    if kind == "yes-no":
        if text.lower() in ("true", "yes", "on", "1", "false", "no", "off", "0"):
            return text.lower() in ("true", "yes", "on", "1")
        raise InvalidArgument(f"{name} is neither true nor false: {text[:40]!a}")
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e6:
        raise InvalidArgument(f"{name} is no number over 0: {text[:40]!a}")
    return number
