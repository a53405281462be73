"""Which remote is meant by what the user wrote: a configured name, or a URL, or a plain absolute path."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import quote, urlsplit

from msgspec.structs import replace

from bentosync.errors import InvalidArgument, NotFound
from bentosync.redaction import without_secrets
from bentosync.settings.bucket import check_bucket
from bentosync.settings.values import RemoteSettings, Settings

THREE_WAYS = """bentosync remote add nas file:///mnt/models
bentosync remote add prod s3://bucket/prefix
bentosync remote add lab s3://bucket/prefix --endpoint-url http://10.0.0.5:9000"""


def choose_remote(settings: Settings, ref: str | None = None) -> RemoteSettings:
    """The remote that `ref` names; without `ref` the default one, or the only one there is.

    Args:
        settings: What is configured.
        ref: Name of a configured remote, `file://` or `s3://` URL, or absolute path. The URL of a configured remote
            means that remote, its endpoint and profile included: it is what messages show.

    Raises:
        NotFound: No remote of that name, or none configured at all.
        InvalidArgument: A URL that cannot be used, or several remotes and no default.
    """
    if ref is None:
        ref = settings.default_remote
    if ref is None:
        return _only_one(settings)
    if "/" in ref or ":" in ref:
        return remote_at(settings, parse_url(ref))
    if ref not in settings.remotes:
        raise other_remote(ref, settings.remotes)
    return settings.remotes[ref]


def remote_at(settings: Settings, url: str) -> RemoteSettings:
    """The configured remote with this URL, the default one first; without one, the URL and nothing else."""
    there = [name for name, remote in sorted(settings.remotes.items()) if remote.url.rstrip("/") == url]
    if not there:
        return RemoteSettings(url=url)
    return settings.remotes[settings.default_remote if settings.default_remote in there else there[0]]


def parse_url(text: str) -> str:
    """Check the URL of a remote and return it in its normal form.

    Raises:
        InvalidArgument: Another scheme, no possible bucket, a relative path, or credentials inside.
    """
    if text.startswith("/"):
        text = f"file://{quote(text)}"
    parts = urlsplit(text)
    if parts.username is not None or parts.password is not None:
        raise InvalidArgument(
            "a remote's URL must not hold credentials",
            hint="use a profile (--profile), the environment (AWS_ACCESS_KEY_ID …) or an instance role",
        )
    if parts.query or parts.fragment:
        raise InvalidArgument(
            f'the URL "{parts.scheme}://{parts.netloc}{parts.path}" has a query or fragment, which a remote cannot use'
        )
    if parts.scheme == "s3":
        if not parts.netloc:
            raise InvalidArgument(f'the URL "{text}" names no bucket', hint="write it as s3://bucket/prefix")
        check_bucket(parts.netloc)
        return text.rstrip("/")
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise InvalidArgument(f'the URL "{text}" is not an absolute path', hint="write it as file:///mnt/models")
        return f"file://{parts.path.rstrip('/') or '/'}"
    if parts.scheme in ("http", "https"):
        endpoint = f"{parts.scheme}://{parts.netloc}"
        raise InvalidArgument(
            f'"{endpoint}" is an endpoint and names no bucket',
            hint=f"bentosync remote add lab s3://bucket/prefix --endpoint-url {endpoint}",
        )
    raise InvalidArgument(f'"{without_secrets(text)}" is neither a file:// nor an s3:// URL', hint=THREE_WAYS)


def named(name: str, remote: RemoteSettings) -> RemoteSettings:
    """The same remote under its name, its URL checked."""
    return replace(remote, name=name, url=parse_url(remote.url))


def other_remote(name: str, configured: Collection[str]) -> NotFound:
    """The error for the name of a remote that is not among those `configured`; its hint is the one that was meant."""
    import difflib  # only a mistake pays for it

    close = difflib.get_close_matches(name, configured, n=1)
    others = f"configured: {', '.join(sorted(configured))}" if configured else THREE_WAYS
    return NotFound(f'no remote "{name}" is configured', hint=f"did you mean {close[0]}?" if close else others)


def _only_one(settings: Settings) -> RemoteSettings:
    if len(settings.remotes) == 1:
        return next(iter(settings.remotes.values()))
    if not settings.remotes:
        raise NotFound("no remote is configured", hint=THREE_WAYS)
    names = ", ".join(sorted(settings.remotes))
    raise InvalidArgument(
        f"several remotes are configured ({names}) and none is the default",
        hint="name one with --remote NAME, or: bentosync remote use NAME",
    )
