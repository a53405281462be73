"""Where a bucket is: from settings to the URL of each request. Pure.

Amazon's own endpoints are addressed by host name (`bucket.s3.region.amazonaws.com`), except for buckets with dots,
whose names no wildcard certificate covers; every other endpoint is addressed by path, which all of them understand.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote, urlsplit

from bentosync.errors import InvalidArgument
from bentosync.settings import Addressing

DEFAULT_REGION = "us-east-1"

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]", re.ASCII)
_REGION = re.compile(r"[a-z0-9-]{1,40}", re.ASCII)

Query = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Bucket:
    """What an `s3://bucket/prefix` URL names. `prefix` is empty or ends with `/`."""

    name: str
    prefix: str

    @property
    def url(self) -> str:
        """The URL, normalised; the same bucket and prefix give the same text."""
        return f"s3://{self.name}/{self.prefix}".rstrip("/")


@dataclass(frozen=True, slots=True)
class Address:
    """A bucket at an endpoint. `base` is everything before the key, percent-encoded, without a trailing slash."""

    base: str
    region: str
    amazon: bool

    def url(self, key: str, query: Query) -> str:
        """The URL of one request; the query is sorted and quoted as signatures need it."""
        path = quote(key, safe="/-_.~")
        return f"{self.base}/{path}" + (f"?{canonical_query(query)}" if query else "")

    @property
    def secure(self) -> bool:
        """Whether bytes travel under TLS."""
        return self.base.startswith("https:")

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.base).netloc


def parse_bucket(url: str) -> Bucket:
    """The bucket and prefix of an `s3://` URL. Raises `InvalidArgument` if it names none."""
    parts = urlsplit(url)
    prefix = unquote(parts.path).strip("/")
    if not _BUCKET.fullmatch(parts.netloc) or parts.query or parts.fragment:
        raise InvalidArgument(f"Remote URL {url!r} names no bucket", hint="write s3://bucket/prefix")
    if any(component in ("", ".", "..") for component in prefix.split("/")) and prefix:
        raise InvalidArgument(f"Remote URL {url!r} has a prefix with an empty or relative component")
    return Bucket(parts.netloc, f"{prefix}/" if prefix else "")


def address(bucket: str, *, endpoint_url: str | None, region: str | None, addressing: Addressing) -> Address:
    """Where to send requests about `bucket`.

    Raises:
        InvalidArgument: The endpoint is not an http(s) URL, or the region is not a word.
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
    return Address(root if virtual else f"{root}/{bucket}", region, amazon=endpoint_url is None)


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


def canonical_query(query: Query) -> str:
    """Names and values quoted, sorted by name."""
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query)
    return "&".join(f"{name}={value}" for name, value in pairs)
