"""Every setting there is, as one table: its name in a config file, its environment variable, its type, its meaning.

`load` reads by this table, `docs/reference/settings.md` is generated from it, `config set` checks against it. A parser
takes what TOML or the environment gave (the environment only gives strings) and returns the value, or raises
ValueError with "expected …, got …"; the caller adds which file and which key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from msgspec import Struct

SIZE_UNITS = {"": 1, "b": 1} | {
    prefix + suffix: factor**power
    for power, prefix in enumerate("kmgt", start=1)
    for suffix, factor in (("", 1024), ("ib", 1024), ("b", 1000))
}


class Place(Struct, frozen=True):
    """Where a value was found: `where` names it to the user, `base` is what its relative paths are relative to."""

    where: str
    base: Path
    environ: Mapping[str, str]
    textual: bool = False


Parser: TypeAlias = Callable[[Any, Place], Any]


class Key(Struct, frozen=True):
    """One setting. `name` is dotted as in a config file, `kind` is the word the reference uses for its type."""

    name: str
    kind: str
    parse: Parser
    summary: str
    env: str | None = None


def text(value: Any, place: Place) -> str:
    """A non-empty string."""
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise ValueError(f"expected a non-empty string, got {value!r}")


def flag(value: Any, place: Place) -> bool:
    """A boolean; from the environment also 1/0, yes/no, on/off."""
    if isinstance(value, bool):
        return value
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if place.textual and value.strip().lower() in words:
        return words[value.strip().lower()]
    raise ValueError(f"expected true or false, got {value!r}")


def count(value: Any, place: Place) -> int:
    """A whole number of at least 1."""
    if place.textual and re.fullmatch(r"\d{1,9}", value.strip()):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ValueError(f"expected a whole number of at least 1, got {value!r}")


def seconds(value: Any, place: Place) -> float:
    """A positive, finite number of seconds."""
    if place.textual and re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value.strip()):
        value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9:
        return float(value)
    raise ValueError(f"expected a positive number of seconds, got {value!r}")


def size(value: Any, place: Place) -> int:
    """Bytes: a whole number, or a string such as "512MiB", "64k" or "1.5 GB" (MiB = 1024², MB = 1000², M = MiB)."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)\s*([a-z]*)", str(value).strip().lower())
    if (
        isinstance(value, str)
        and found
        and found[2] in SIZE_UNITS
        and (total := int(float(found[1]) * SIZE_UNITS[found[2]])) > 0
    ):
        return total
    raise ValueError(f'expected bytes such as 1048576 or "512MiB", got {value!r}')


def rate(value: Any, place: Place) -> int | None:
    """Bytes a second: as `size`, with or without "/s"; "none" is no limit."""
    if isinstance(value, str):
        text_ = value.strip().lower()
        if text_ == "none":
            return None
        value = text_.removesuffix("/s").strip()
    try:
        return size(value, place)
    except ValueError:
        raise ValueError(f'expected bytes a second such as "50MiB/s", or "none", got {value!r}') from None


def path(value: Any, place: Place) -> Path:
    """A path; `~` and `$NAME` are expanded, a relative one starts at the file that says it."""
    expanded = Template(text(value, place)).safe_substitute(place.environ)
    if expanded == "~" or expanded.startswith("~/"):
        home = place.environ.get("HOME")
        if not home:
            raise ValueError(f"cannot expand {value!r}: HOME is not set")
        expanded = home + expanded[1:]
    return place.base / expanded


def path_text(value: Any, place: Place) -> str:
    """A path, kept as text for a library that wants text."""
    return str(path(value, place))


def remote(value: Any, place: Place) -> str:
    """A remote's name or URL; a URL with credentials is refused before it is kept anywhere."""
    found = text(value, place)
    _, scheme, rest = found.partition("://")
    if scheme and "@" in rest.partition("/")[0]:
        raise ValueError("a remote's URL must not hold credentials")
    return found


def one_of(*choices: str) -> Parser:
    """One of a few words, in any case."""
    words = {choice.lower(): choice for choice in choices}

    def parse(value: Any, place: Place) -> str:
        if isinstance(value, str) and value.strip().lower() in words:
            return words[value.strip().lower()]
        raise ValueError(f"expected one of {', '.join(choices)}, got {value!r}")

    return parse


def encryption(value: Any, place: Place) -> str:
    """How the store encrypts what it is sent, by a key that it can get at itself."""
    if isinstance(value, str) and CUSTOMER_KEY.fullmatch(value.strip().lower().replace("-", "_")):
        raise ValueError(f"{NO_CUSTOMER_KEYS}; {INSTEAD_OF_CUSTOMER_KEYS}")
    return str(one_of(*ENCRYPTIONS)(value, place))


def storage_class(value: Any, place: Place) -> str:
    """A storage class whose objects can be read at once; stores other than Amazon's have their own names."""
    name = text(value, place)
    if name.upper() in ARCHIVES:
        raise ValueError(
            f"objects in {name.upper()} cannot be read before somebody restores them, so nothing could be pulled: "
            "use GLACIER_IR, or a lifecycle rule for versions that nobody pulls any more"
        )
    if name.upper() == "EXPRESS_ONEZONE":
        raise ValueError("EXPRESS_ONEZONE is for directory buckets (S3 Express), which are not supported")
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
        raise ValueError(f"expected a storage class such as STANDARD_IA, got {value!r}")
    return name


def endpoint(value: Any, place: Place) -> str:
    """Scheme and host of a store, and whatever path it lies under."""
    url = text(value, place)
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError("expected no credentials in it: they come from the environment, a profile or an instance role")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"expected https://host[:port], got {value!r}")
    return url


def region(value: Any, place: Place) -> str:
    """The name of a region."""
    name = text(value, place)
    if re.fullmatch(r"[a-z0-9-]{1,40}", name, re.ASCII):
        return name
    raise ValueError(f"expected a region such as eu-central-1, got {value!r}")


def account(value: Any, place: Place) -> str:
    """The id of an AWS account."""
    if isinstance(value, str) and re.fullmatch(r"\d{12}", value.strip(), re.ASCII):
        return value.strip()
    raise ValueError(f'expected the 12 digits of an AWS account such as "111122223333", got {value!r}')


def header_word(value: Any, place: Place) -> str:
    """A word that can stand in a header."""
    word = text(value, place)
    if word.isascii() and word.isprintable() and " " not in word:
        return word
    raise ValueError(f"expected a word without spaces, got {value!r}")


ENCRYPTIONS = ("AES256", "aws:kms", "aws:kms:dsse")
ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")
ACLS = (
    "private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read", "bucket-owner-read",
    "bucket-owner-full-control",
)  # fmt: skip

CUSTOMER_KEY = re.compile(r"sse_?c(_.*)?|sse_customer.*|customer(_.*)?")
"""What people write who want SSE-C, as a setting's name or as the value of `sse`."""

NO_CUSTOMER_KEYS = "keys of your own sent with each request (SSE-C) are not supported"
INSTEAD_OF_CUSTOMER_KEYS = 'use sse = "aws:kms" with sse_kms_key_id, which other readers of the bucket can use too'

KEYS: tuple[Key, ...] = (
    Key("default_remote", "text", remote, "Remote used when none is named: a name or a URL.", "BENTOSYNC_REMOTE"),
    Key("offline", "true or false", flag, "Never open a socket.", "BENTOSYNC_OFFLINE"),
    Key(
        "progress",
        "auto, bar, plain, json, none",
        one_of("auto", "bar", "plain", "json", "none"),
        "How progress is shown on stderr.",
        "BENTOSYNC_PROGRESS",
    ),
    Key(
        "log",
        "error, warning, info, debug",
        one_of("error", "warning", "info", "debug"),
        "Log level on stderr; -v is info, -vv is debug.",
        "BENTOSYNC_LOG",
    ),
    Key(
        "native",
        "auto, on, off",
        one_of("auto", "on", "off"),
        "Whether the compiled core is used, also to receive bodies; `on` fails where there is none.",
        "BENTOSYNC_NATIVE",
    ),
    Key("store.home", "path", path, "BentoML's home; models lie in its `models` folder.", "BENTOML_HOME"),
    Key(
        "store.state_dir",
        "path",
        path,
        "bentosync's own state, on the file system of the models.",
        "BENTOSYNC_STATE_DIR",
    ),
    Key(
        "store.cache_dir",
        "path",
        path,
        "What bentosync remembers about remotes; may be deleted.",
        "BENTOSYNC_CACHE_DIR",
    ),
    Key("store.lock_seconds", "seconds", seconds, "How long to wait for another process that holds a lock."),
    Key(
        "transfer.jobs",
        "count",
        count,
        "The most requests in flight in a process; fewer where more would bring nothing.",
        "BENTOSYNC_JOBS",
    ),
    Key(
        "transfer.memory_bytes",
        "size",
        size,
        "Bound of all transfer buffers of a process together.",
        "BENTOSYNC_MEMORY_BYTES",
    ),
    Key(
        "transfer.limit_bytes_per_second",
        "rate",
        rate,
        'The most that passes over the network in a process, such as "50MiB/s"; "none" is no limit.',
        "BENTOSYNC_LIMIT_RATE",
    ),
    Key("transfer.connect_seconds", "seconds", seconds, "Time limit for opening a connection."),
    Key("transfer.stall_seconds", "seconds", seconds, "A connection that is silent for so long is dropped."),
    Key("transfer.attempts", "count", count, "Tries of one request before the operation fails."),
    Key("transfer.retry_base_seconds", "seconds", seconds, "Upper bound of the first wait between tries; doubles."),
    Key("transfer.retry_cap_seconds", "seconds", seconds, "Upper bound of every wait between tries."),
    Key("transfer.range_bytes", "size", size, "The longest download request."),
)

REMOTE_KEYS: tuple[Key, ...] = (
    Key("url", "text", text, "`s3://bucket/prefix` or `file:///path`."),
    Key("endpoint_url", "URL", endpoint, "Endpoint of an S3-compatible store."),
    Key("region", "text", region, "Region; without it botocore's own chain decides."),
    Key("profile", "text", text, "Profile of the AWS config files."),
    Key("addressing", "auto, path, virtual", one_of("auto", "path", "virtual"), "Where the bucket name goes."),
    Key("anonymous", "true or false", flag, "Send unsigned requests."),
    Key("single_writer", "true or false", flag, "Push to a store that ignores conditional writes."),
    Key("ca_bundle", "path", path_text, "PEM file of authorities to trust instead of `AWS_CA_BUNDLE` or the system's."),
    Key("allow_http", "true or false", flag, "Plain http to another machine is meant: do not warn about it."),
    Key("sse", ", ".join(ENCRYPTIONS), encryption, "Encryption at rest of what is pushed; else the bucket's default."),
    Key("sse_kms_key_id", "text", header_word, "KMS key (id, ARN or alias) for `sse`; else the bucket's or Amazon's."),
    Key("acl", ", ".join(ACLS), one_of(*ACLS), "Canned ACL of every object that is pushed."),
    Key("storage_class", "text", storage_class, "Storage class of model files; small documents keep the default."),
    Key("request_payer", "requester", one_of("requester"), "Pay for requests to a requester-pays bucket."),
    Key("expected_bucket_owner", "12 digits", account, "AWS account that must own the bucket; else it is refused."),
)
