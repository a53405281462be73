"""AWS Signature Version 4 for S3, as pure functions and one small cache.

The algorithm is the one Amazon publishes ("Create a signed AWS API request", IAM User Guide; for S3's own rules, a path
that is quoted once and the payload's hash as a header, "Authenticating Requests", S3 API Reference). botocore signs,
too, but at six times the cost, and it is slow to import. The key derived from the secret is good for a day, so it is
derived once. Tests hold every signature against botocore's.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"

_SERVICE = "s3"
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Credentials(Struct, frozen=True):
    """Who signs. `source` says where they were found (environment, profile, …), for error messages."""

    access_key: str
    secret_key: str
    token: str | None = None
    source: str = "explicit"

    def __repr__(self) -> str:
        return f"Credentials(source={self.source!r})"


class _DayKey(Struct, frozen=True):
    """The signing key of one secret, day and region."""

    secret_key: str
    day: str
    region: str
    key: bytes

    def __repr__(self) -> str:
        return f"_DayKey(day={self.day!r}, region={self.region!r})"


class Alike(Struct, frozen=True):
    """The parts of a signature that many requests share; see `Signer.alike`. `sent` are the headers they share."""

    sent: Mapping[str, str]
    head: str
    middle: str
    tail: str
    text: str
    keyed: hmac.HMAC
    authorization: str

    def __repr__(self) -> str:
        return f"Alike(sent={sorted(self.sent)!r})"

    def authorize(self, path: str, value: str) -> str:
        """The Authorization of the request for `path`, quoted as it will be sent, with this value of what varies."""
        canonical = f"{self.head}{path}{self.middle}{value}{self.tail}"
        text = f"{self.text}{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = self.keyed.copy()
        signature.update(text.encode())
        return f"{self.authorization}Signature={signature.hexdigest()}"


class Signer:
    """Signs requests. Keeps the key of the day."""

    def __init__(self) -> None:
        self._day_key: _DayKey | None = None

    def sign(
        self,
        credentials: Credentials,
        *,
        method: str,
        url: str,
        headers: Mapping[str, str],
        payload: str,
        region: str,
        now: datetime,
    ) -> dict[str, str]:
        """The headers to send: `headers`, plus those of the signature.

        Args:
            credentials: Who signs.
            method: HTTP method.
            url: As it will be sent; its query sorted and quoted.
            headers: All of them are signed.
            payload: SHA-256 of the body in hexadecimal, or `UNSIGNED_PAYLOAD`.
            region: Region of the bucket.
            now: Time of the signature, UTC.
        """
        moment = now.strftime("%Y%m%dT%H%M%SZ")
        parts = urlsplit(url)
        sent, signed = _headers(credentials, parts, headers, payload, moment)
        names = sorted(signed)
        request = "\n".join(
            (
                method,
                parts.path or "/",
                parts.query,
                *(f"{name}:{signed[name]}" for name in names),
                "",
                ";".join(names),
                payload,
            )
        )
        scope = f"{moment[:8]}/{region}/{_SERVICE}/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = self._key(credentials.secret_key, moment[:8], region)
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        sent["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        return sent

    def alike(
        self,
        credentials: Credentials,
        *,
        method: str,
        url: str,
        headers: Mapping[str, str],
        varying: str,
        payload: str,
        region: str,
        now: datetime,
    ) -> Alike:
        """Signs many requests that differ in their path and in the value of the header `varying`; arguments as `sign`.

        `url` is one of theirs, without a query. What they share is computed once.
        """
        moment = now.strftime("%Y%m%dT%H%M%SZ")
        sent, signed = _headers(credentials, urlsplit(url), headers, payload, moment)
        before = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed) if name < varying)
        after = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed) if name > varying)
        names = ";".join(sorted({*signed, varying}))
        scope = f"{moment[:8]}/{region}/{_SERVICE}/aws4_request"
        return Alike(
            sent=sent,
            head=f"{method}\n",
            middle=f"\n\n{before}{varying}:",
            tail=f"\n{after}\n{names}\n{payload}",
            text=f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n",
            keyed=hmac.new(self._key(credentials.secret_key, moment[:8], region), digestmod="sha256"),
            authorization=f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, SignedHeaders={names}, ",
        )

    def _key(self, secret_key: str, day: str, region: str) -> bytes:
        known = self._day_key
        if known is None or (known.secret_key, known.day, known.region) != (secret_key, day, region):
            key = f"AWS4{secret_key}".encode()
            for word in (day, region, _SERVICE, "aws4_request"):
                key = hmac.digest(key, word.encode(), "sha256")
            known = self._day_key = _DayKey(secret_key, day, region, key)
        return known.key


def _headers(
    credentials: Credentials, parts: SplitResult, headers: Mapping[str, str], payload: str, moment: str
) -> tuple[dict[str, str], dict[str, str]]:
    """What is sent besides the signature, and what is signed, by names in lower case."""
    sent = {**headers, "x-amz-content-sha256": payload, "x-amz-date": moment}
    if credentials.token:
        sent["x-amz-security-token"] = credentials.token
    signed = {name.lower(): " ".join(value.split()) for name, value in sent.items()}
    signed["host"] = _host(parts.scheme, parts.netloc)
    return sent, signed


def _host(scheme: str, netloc: str) -> str:
    """The Host header that will be sent: without the scheme's default port."""
    name, colon, port = netloc.rpartition(":")
    return name if colon and port.isdigit() and int(port) == _DEFAULT_PORTS.get(scheme) else netloc
