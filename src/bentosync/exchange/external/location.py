"""A place in storage that is named by a URL, with what is secret about it kept out of sight.

Paths are percent-decoded, except in http and https, where path and query belong to the server. `shown` is for people;
`url` is for whoever wants to come back, and says everything again, the secrets included, if the caller had given them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from bentosync.errors import InvalidArgument
from bentosync.exchange.external import schemes
from bentosync.exchange.external.schemes import Scheme
from bentosync.redaction import without_secrets

_SAFE = "/-_.~"


@dataclass(frozen=True, slots=True)
class Location:
    """`scheme://host/path`. `path` has no slash in front, and one at its end if a folder was meant.

    `query` is that of a web address; the options of other storage are in `options`.
    """

    scheme: Scheme
    host: str
    path: str
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: str = field(default="", repr=False)

    @property
    def is_web(self) -> bool:
        """Whether it is a plain web address."""
        return self.scheme.name in ("http", "https")

    @property
    def shown(self) -> str:
        """For messages: without credentials, options and query."""
        return f"{self.scheme.name}://{self.host}/{self._quoted}" + ("?…" if self.query else "")

    @property
    def url(self) -> str:
        """All of it, as it can be given again."""
        query = self.query or urlencode(self.options)
        return f"{self.scheme.name}://{self._userinfo}{self.host}/{self._quoted}" + (f"?{query}" if query else "")

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rstrip("/").rpartition("/")[2]

    def at(self, path: str) -> Location:
        """Another path in the same place."""
        return replace(self, path=path)

    def hidden(self, text: str) -> str:
        """A library's words without anything that is secret here."""
        secrets = [self.password, self.query]
        secrets += [value for name, value in self.options.items() if schemes.is_secret(name)]
        for secret in filter(None, secrets):
            for spelled in {secret, quote(secret, safe=""), quote(secret)}:
                text = text.replace(spelled, "…")
        return without_secrets(text)

    @property
    def _quoted(self) -> str:
        return self.path if self.is_web else quote(self.path, safe=_SAFE)

    @property
    def _userinfo(self) -> str:
        if self.user is None and self.password is None:
            return ""
        password = "" if self.password is None else f":{quote(self.password, safe='')}"
        return f"{quote(self.user or '', safe='')}{password}@"


def parse(url: str) -> Location:
    """The place that a URL names.

    Raises:
        Unsupported: There is no such scheme.
        InvalidArgument: It has no host, or options that do not exist.
    """
    try:
        parts = urlsplit(url)
        of = schemes.scheme(parts.scheme)
        user, password, _ = parts.username, parts.password, parts.port
    except ValueError as error:
        if isinstance(error, InvalidArgument):
            raise
        raise InvalidArgument(f"{without_secrets(url)[:200]!a} is no URL: its host or port is malformed") from error
    if parts.fragment:
        raise InvalidArgument(
            f"{of.name}: a URL with '#' names no file", hint="write it as %23 if it is part of a name"
        )
    host = parts.netloc.rpartition("@")[2]
    known = Location(of, host, parts.path.lstrip("/"), _decoded(user), _decoded(password))
    if known.is_web:
        return _complete(replace(known, query=parts.query))
    options = schemes.checked(of, dict(parse_qsl(parts.query, keep_blank_values=True)))
    return _complete(replace(known, path=unquote(known.path), options=options))


def given(
    protocol: str,
    path: str,
    user: str | None,
    passwd: str | None,
    params: Mapping[str, str] | None,
    subpath: str | None,
) -> Location:
    """The place that BentoML's arguments name: `path` is a host or bucket, and what follows its first slash a path.

    Raises:
        Unsupported: There is no such protocol.
        InvalidArgument: `path` names no host, or an option does not exist.
    """
    of = schemes.scheme(protocol)
    host, _, inner = path.lstrip("/").partition("/") if protocol == "dropbox" else path.partition("/")
    if subpath is not None:
        inner = f"{inner.rstrip('/')}/{subpath.lstrip('/')}".lstrip("/")
    options = schemes.checked(of, {name: str(value) for name, value in (params or {}).items()})
    return _complete(Location(of, host, inner.lstrip("/"), user or None, passwd or None, options))


def _complete(found: Location) -> Location:
    if found.scheme.name == "dropbox":
        # There are no hosts in a Dropbox: what stands there is the first folder, or the name of the site.
        inside = found.host in ("", "dropbox.com", "www.dropbox.com")
        path = found.path if inside else f"{found.host}/{found.path}"
        return replace(found, host="", path=path.lstrip("/"))
    if not found.host:
        example = {"s3": "bucket", "gs": "bucket", "az": "container", "hf": "organisation"}.get(
            found.scheme.name, "host"
        )
        raise InvalidArgument(
            f"{found.scheme.name}://: it names no {example}", hint=f"{found.scheme.name}://{example}/path"
        )
    if "\0" in found.path or any(part in (".", "..") for part in found.path.split("/")):
        raise InvalidArgument(f"{found.shown}: a path in storage has no '.' and no '..'")
    return found


def _decoded(text: str | None) -> str | None:
    return None if text is None else unquote(text)
