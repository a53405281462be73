"""S3's refusals, turned into our families: one table from code or status to error. Pure.

A refusal has a status, usually an <Error> document with a code, and headers. HEAD replies have no body, so the status
alone decides there. Whatever is not in the table is a `RemoteError`, retried only for 5xx.
"""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import replace

from bentosync.errors import (
    AuthError,
    BentoMLException,
    Conflict,
    IntegrityError,
    InvalidArgument,
    NotFound,
    RemoteError,
    Throttled,
    Unsupported,
)
from bentosync.remote.contract import Forbidden, MissingRemote
from bentosync.remote.s3 import documents
from bentosync.remote.s3.api import Api
from bentosync.remote.s3.signing import Credentials
from bentosync.wire.exchange import Reply

_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
_UNKNOWN_KEY = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthorizationHeaderMalformed"}
_THROTTLED = {
    "SlowDown",
    "TooManyRequests",
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "ServiceUnavailable",
}
_PASSING = {"InternalError", "RequestTimeout", "OperationAborted", "BadGateway", "GatewayTimeout"}
_DAMAGED = {"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "IncompleteBody"}
_UPLOAD_GONE = {"NoSuchUpload", "InvalidPart"}
_UNFIT = {"EntityTooSmall", "EntityTooLarge", "InvalidPartOrder", "KeyTooLongError"}
_MOVED = {
    "PermanentRedirect",
    "TemporaryRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
}
# What a bucket does not take of the remote's own settings, and which of them it is.
_TERMS = {
    "AccessControlListNotSupported": "leave out acl: this bucket's owner owns all that is in it",
    "InvalidStorageClass": "correct storage_class: this store has no such class",
    "InvalidEncryptionAlgorithmError": "correct sse: this store does not encrypt so",
}
_AUTHORIZED = re.compile(r"not authorized to perform: ([a-z0-9-]{1,32}:[A-Za-z]{1,64})", re.ASCII)
_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage"}
_CODES_BY_STATUS = {
    401: "AccessDenied", 403: "AccessDenied", 404: "NoSuchKey", 408: "RequestTimeout", 409: "OperationAborted",
    412: "PreconditionFailed", 416: "InvalidRange", 425: "RequestTimeout", 429: "SlowDown", 500: "InternalError",
    502: "BadGateway", 503: "SlowDown", 504: "GatewayTimeout", 507: "InsufficientStorage",
}  # fmt: skip
_RETRY_AFTER_SECONDS_MAX = 24 * 3600.0
_SKEW_SECONDS_MIN = 300.0


class Scene(Struct, frozen=True):
    """What was attempted, for messages: the object in words, the bucket, the endpoint, and whose credentials.

    `api` and `key` (with the prefix; empty for a listing) are what a policy would have to allow; `owner` is whom the
    bucket had to belong to.
    """

    what: str
    bucket: str
    host: str
    credentials: str
    api: Api
    key: str = ""
    owner: str | None = None


class Fault(Struct, frozen=True):
    """A refusal with a code, even if the store sent none."""

    status: int
    code: str
    message: str
    region: str | None
    date: datetime | None
    retry_after_seconds: float | None
    bodiless: bool


def fault(reply: Reply, *, now: datetime) -> Fault:
    """What `reply`, which is not the one that was asked for, says."""
    told = documents.refusal(reply.body)
    return Fault(
        status=reply.status,
        code=(told.code if told else "") or _CODES_BY_STATUS.get(reply.status, f"Status{reply.status}"),
        message=_plain(told.message) if told else "",
        region=reply.headers.get("x-amz-bucket-region") or (told.region if told else None),
        date=_date(reply.headers.get("date", "")),
        retry_after_seconds=_seconds(reply.headers.get("retry-after", ""), now),
        bodiless=told is None,
    )


def without_secrets(found: Fault, credentials: Credentials | None) -> Fault:
    """The same, if the store repeats in its message what it was sent."""
    message = found.message
    for secret in (credentials.secret_key, credentials.token, credentials.access_key) if credentials else ():
        message = message.replace(secret, "…") if secret else message
    return replace(found, message=message)


def other_region(found: Fault) -> str | None:
    """The region the store sends us to, or None."""
    moved = found.code in _MOVED or found.status in (301, 307, 400)
    return found.region if moved else None


def is_expired(found: Fault) -> bool:
    """Whether fresh credentials may help; a HEAD reply can only hint at it by 400."""
    return found.code in _EXPIRED or (found.bodiless and found.status == 400)


def clock_ahead_seconds(date: str, now: datetime) -> float | None:
    """How far a clock that says `date`, to the second, is ahead of `now`; None if it says nothing."""
    moment = _date(date)
    if moment is None:
        return None
    ahead = (moment - now).total_seconds()
    return ahead if ahead > 0 else min(0.0, ahead + 1.0)


def clock_skew_seconds(found: Fault, now: datetime) -> float | None:
    """How far the store's clock is ahead of ours, if that is why it refused."""
    if found.date is None or found.code not in ("RequestTimeTooSkewed", "AccessDenied"):
        return None
    skew = (found.date - now).total_seconds()
    plain_refusal = found.code == "AccessDenied" and not (found.bodiless and abs(skew) > _SKEW_SECONDS_MIN)
    return None if plain_refusal else skew


def error(found: Fault, scene: Scene) -> BentoMLException:
    """The error to raise."""
    told = f"{found.code}, status {found.status}" + (f": {found.message}" if found.message else "")
    code, status = found.code, found.status
    if code == "NoSuchBucket":
        return MissingRemote(
            f"Bucket {scene.bucket} does not exist at {scene.host}", hint="check the URL, or make the bucket"
        )
    if code in _UPLOAD_GONE:
        return NotFound(f"The upload of {scene.what}, or a part of it, is gone ({told})", hint="push again")
    if code in ("NoSuchKey", "NotFound") or status == 404:
        return NotFound(f"{scene.what} does not exist in bucket {scene.bucket}")
    if code in _EXPIRED:
        return AuthError(f"The credentials ({scene.credentials}) have expired", hint="sign in again, then repeat")
    if code in _UNKNOWN_KEY:
        return AuthError(
            f"{scene.host} does not accept the credentials ({scene.credentials}) for {scene.what} ({told})",
            hint="check access key, secret key, profile and region",
        )
    if code == "RequestTimeTooSkewed":
        return AuthError(f"The clock of this machine differs from that of {scene.host}", hint="set the clock")
    if code in ("PreconditionFailed", "ConditionalRequestConflict"):
        return Conflict(f"{scene.what} was written or changed by somebody else")
    if code in _THROTTLED:
        return Throttled(f"{scene.host} asks to slow down ({told})", retry_after_seconds=found.retry_after_seconds)
    if code in _DAMAGED:
        return IntegrityError(
            f"{scene.host} got other bytes of {scene.what} than were announced ({told})", retryable=True
        )
    if code == "InvalidRange":
        return IntegrityError(f"{scene.what} is shorter than it should be ({told})")
    if code in _UNFIT:
        return InvalidArgument(f"{scene.host} cannot store {scene.what} ({told})")
    if code in _TERMS or code.startswith("KMS."):
        hint = _TERMS.get(code, "check sse_kms_key_id: key, region, and whether it is enabled")
        return InvalidArgument(f"{scene.host} cannot store {scene.what} as the remote is set up ({told})", hint=hint)
    if code == "InvalidObjectState":
        return _archived(scene, told)
    if code == "InvalidRequest" and "server side encryption" in found.message.lower().replace("-", " "):
        return Unsupported(
            f"{scene.what} in bucket {scene.bucket} is encrypted with a key that comes with each request (SSE-C), "
            f"which is not supported ({told})",
            hint="copy it onto itself with SSE-S3 or SSE-KMS, or push it again",
        )
    if status in (401, 403):
        return _forbidden(found, told, scene)
    return _other(found, told, scene)


def _forbidden(found: Fault, told: str, scene: Scene) -> Forbidden:
    named = _AUTHORIZED.search(found.message)  # Amazon often says itself what lacks, which may be a KMS action.
    permission = named[1] if named else scene.api.permission
    resource = f"arn:aws:s3:::{scene.bucket}" + (f"/{scene.key}" if scene.key else "")
    if not permission.startswith("s3:"):
        resource = "what the message names"
    refused = f"{scene.api.name} of {scene.what}" if scene.key else f"{scene.api.name} ({scene.what})"
    hints = [f"grant {permission} on {resource}, or use other credentials"]
    if scene.api.reads and permission == scene.api.permission:
        hints.append("if the object may not exist: who lacks s3:ListBucket on the bucket is told this instead")
    if scene.owner:
        hints.append(f"if the bucket does not belong to account {scene.owner}: correct expected_bucket_owner")
    hints.append("policies for pull, push, delete and gc: docs/how-to/permissions.md")
    return Forbidden(
        f"{scene.host} refuses {refused} in bucket {scene.bucket} to credentials {scene.credentials} ({told})",
        permission=permission,
        hint="\n".join(hints),
    )


def _archived(scene: Scene, told: str) -> RemoteError:
    restore = f"aws s3api restore-object --bucket {scene.bucket} --key {shlex.quote(scene.key)}"
    error = RemoteError(
        f"{scene.what} in bucket {scene.bucket} is archived (GLACIER or DEEP_ARCHIVE) and cannot be read ({told})",
        hint=f"{restore} --restore-request Days=7\n"
        "and so for the model's other files; when they are restored (hours), run the same command again",
    )
    error.retryable = False
    return error


def _other(found: Fault, told: str, scene: Scene) -> RemoteError:
    answer = RemoteError(f"{scene.host} failed on {scene.what} ({told})")
    answer.retryable = found.code in _PASSING or (
        found.status >= 500 and found.code not in _FULL and found.status != 501
    )
    return answer


def _plain(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _date(text: str) -> datetime | None:
    from email.utils import parsedate_to_datetime  # only a refusal pays for it

    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _seconds(text: str, now: datetime) -> float | None:
    """Retry-After as seconds from now: it may be a number or a date, and it may be garbage."""
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text, re.ASCII):
        return min(float(text), _RETRY_AFTER_SECONDS_MAX)
    moment = _date(text)
    return None if moment is None else min(max(0.0, (moment - now).total_seconds()), _RETRY_AFTER_SECONDS_MAX)
