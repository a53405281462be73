"""SigV4 as a server checks it, written from Amazon's description and not from our signer."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from tests.servers.faulty.call import Call

SKEW_SECONDS_MAX = 900.0


@dataclass(frozen=True)
class Keys:
    """Whom the server knows. `tokens` are the session tokens it takes now; empty means that none is asked for."""

    access_key: str
    secret_key: str
    region: str = "us-east-1"
    tokens: frozenset[str] = frozenset()


def refusal(call: Call, keys: Keys, now: datetime) -> tuple[int, str] | None:
    """(status, code) for a request that is not signed as it must be, or None."""
    scheme, _, text = call.headers.get("authorization", "").partition(" ")
    fields = dict(field.strip().partition("=")[::2] for field in text.split(","))
    scope = fields.get("Credential", "").split("/")
    if scheme != "AWS4-HMAC-SHA256" or len(scope) != 5:
        return 403, "AccessDenied"
    if scope[0] != keys.access_key:
        return 403, "InvalidAccessKeyId"
    if scope[2] != keys.region:
        return 400, "AuthorizationHeaderMalformed"
    if keys.tokens and call.headers.get("x-amz-security-token") not in keys.tokens:
        return 400, "ExpiredToken"
    moment = datetime.strptime(call.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if abs((moment - now).total_seconds()) > SKEW_SECONDS_MAX:
        return 403, "RequestTimeTooSkewed"
    if not hmac.compare_digest(_signature(call, fields, scope, keys.secret_key), fields.get("Signature", "")):
        return 403, "SignatureDoesNotMatch"
    sent = call.headers["x-amz-content-sha256"]
    if len(sent) == 64 and hashlib.sha256(call.body).hexdigest() != sent:
        return 400, "XAmzContentSHA256Mismatch"
    return None


def _signature(call: Call, fields: Mapping[str, str], scope: list[str], secret: str) -> str:
    names = fields["SignedHeaders"].split(";")
    pairs = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in call.query.items())
    canonical = "\n".join(
        [
            call.method, urlsplit(call.target).path, "&".join(f"{name}={value}" for name, value in pairs),
            *(f"{name}:{' '.join(call.headers.get(name, '').split())}" for name in names), "",
            ";".join(names), call.headers["x-amz-content-sha256"],
        ]
    )  # fmt: skip
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", call.headers["x-amz-date"], "/".join(scope[1:]), digest])
    key = f"AWS4{secret}".encode()
    for word in scope[1:]:
        key = hmac.digest(key, word.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()
