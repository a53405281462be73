"""Where a bucket is: from settings to the URL of each request. Pure.

Amazon's own endpoints are addressed by host name (`bucket.s3.region.amazonaws.com`), except for buckets with dots,
whose names no wildcard certificate covers; every other endpoint is addressed by path, which all of them understand.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote, unquote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from bentosync.errors import InvalidArgument
from bentosync.events import Warned
from bentosync.settings import Addressing
from bentosync.settings.bucket import check_bucket

DEFAULT_REGION = "us-east-1"

_REGION = re.compile(r"[a-z0-9-]{1,40}", re.ASCII)
_HOST_LABELS = re.compile(r"[a-z0-9.-]+", re.ASCII)

Query = Sequence[tuple[str, str]]


class Bucket(Struct, frozen=True):
    """What an `s3://bucket/prefix` URL names. `prefix` is empty or ends with `/`."""

    name: str
    prefix: str

    @property
    def url(self) -> str:
        """The URL, normalised; the same bucket and prefix give the same text."""
        return f"s3://{self.name}/{self.prefix}".rstrip("/")


class Address(Struct, frozen=True):
    """A bucket at an endpoint. `base` is everything before the key, percent-encoded, without a trailing slash."""

    base: str
    region: str
    amazon: bool
    virtual: bool

    def url(self, key: str, query: Query) -> str:
        """The URL of one request; the query is sorted and quoted as signatures need it."""
        return f"{self.base}/{_quoted(key)}" + (f"?{canonical_query(query)}" if query else "")

    def targets(self, keys: Iterable[str]) -> list[str]:
        """What comes after the host in the URLs of requests without a query."""
        root = urlsplit(self.base).path
        return [f"{root}/{_quoted(key)}" for key in keys]

    @property
    def secure(self) -> bool:
        """Whether bytes travel under TLS."""
        return self.base.startswith("https:")

    @property
    def exposed(self) -> bool:
        """Whether bytes travel in the clear to another machine."""
        return not self.secure and not _is_loopback(urlsplit(self.base).hostname or "")

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.base).netloc

    @property
    def endpoint(self) -> str:
        """Scheme, host and port."""
        parts = urlsplit(self.base)
        return f"{parts.scheme}://{parts.netloc}"


def parse_bucket(url: str) -> Bucket:
    """The bucket and prefix of an `s3://` URL. Raises `InvalidArgument` if it names none that can be."""
    parts = urlsplit(url)
    prefix = unquote(parts.path).strip("/")
    if not parts.netloc or parts.username is not None or parts.query or parts.fragment:
        raise InvalidArgument(f"Remote URL {url!r} names no bucket", hint="write s3://bucket/prefix")
    check_bucket(parts.netloc)
    if any(component in ("", ".", "..") for component in prefix.split("/")) and prefix:
        raise InvalidArgument(f"Remote URL {url!r} has a prefix with an empty or relative component")
    return Bucket(parts.netloc, f"{prefix}/" if prefix else "")


def address(bucket: str, *, endpoint_url: str | None, region: str | None, addressing: Addressing) -> Address:
    """Where to send requests about `bucket`.

    Raises:
        InvalidArgument: The endpoint is not an http(s) URL, the region is not a word, or Amazon has no such bucket.
    """
    region = region or DEFAULT_REGION
    if not _REGION.fullmatch(region):
        raise InvalidArgument(f"Region {region!r} is not the name of a region")
    endpoint = urlsplit(endpoint_url or amazon_endpoint(region))
    if endpoint.scheme not in ("http", "https") or not endpoint.hostname or endpoint.username or endpoint.query:
        raise InvalidArgument(f"Endpoint {endpoint_url!r} is not an address", hint="write https://host[:port]")
    root = f"{endpoint.scheme}://{endpoint.netloc}{endpoint.path.rstrip('/')}"
    virtual = addressing == "virtual" or (addressing == "auto" and endpoint_url is None and "." not in bucket)
    if virtual:
        root = root.replace("://", f"://{bucket}.", 1)
        if not _HOST_LABELS.fullmatch(bucket):
            raise InvalidArgument(
                f'"{bucket}" cannot be part of a host name: buckets at Amazon have lower-case letters, digits, dots '
                "and hyphens",
                hint='for a bucket from before 2018: addressing = "path"; for another store, name its endpoint_url',
            )
    return Address(root if virtual else f"{root}/{bucket}", region, amazon=endpoint_url is None, virtual=virtual)


def moved(current: Address, region: str) -> Address | None:
    """The address after the store said the bucket is in another `region`; None if that would change nothing."""
    if region == current.region or not _REGION.fullmatch(region):
        return None
    base = current.base
    if current.amazon:
        base = base.replace(amazon_endpoint(current.region)[8:], amazon_endpoint(region)[8:], 1)
    return replace(current, base=base, region=region)


def amazon_endpoint(region: str) -> str:
    """Amazon's endpoint in `region`."""
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://s3.{region}.{suffix}"


def _quoted(key: str) -> str:
    return quote(key, safe="/-_.~")


def canonical_query(query: Query) -> str:
    """Names and values quoted, sorted by name."""
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query)
    return "&".join(f"{name}={value}" for name, value in pairs)


def warning(at: Address, name: str | None) -> Warned:
    """What to say about an `exposed` address."""
    quiet = f"bentosync config set remote.{name}.allow_http true" if name else "allow_http = true for that remote"
    return Warned(
        f"{at.endpoint} is plain http: whoever is on the way can read and change what is sent",
        f"use https; or, where the network is trusted: {quiet}",
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
