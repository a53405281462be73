"""Secrets taken out of text before anybody reads it: credentials in URLs, presigned queries, authorization headers.

Nothing here puts secrets into messages on purpose. But a URL that somebody passes as an argument comes back in the
error that refuses it, and a library's message may quote a request. So whatever is logged or printed for people goes
through here as well; it is a second lock, not the first.
"""

from __future__ import annotations

import logging
import re

_USER = re.compile(r"([a-z][a-z0-9+.-]*://)[^/?#\s@'\"]*@", re.IGNORECASE)
_QUERY = re.compile(
    r"([?&](?:x-amz-signature|x-amz-credential|x-amz-security-token|x-goog-signature|x-goog-credential|signature|sig"
    r"|awsaccesskeyid|access_token|token|password|secret)=)[^&#\s'\"]+",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"((?:proxy-)?authorization|x-amz-security-token|cookie)(['\"]?\s*[:=]\s*['\"]?)[^\r\n'\"]+", re.IGNORECASE
)
_SIGNATURE = re.compile(r"(Signature=)[0-9a-f]{16,}")


def without_secrets(text: str) -> str:
    """The same text with `…` in the place of every secret that can be told by its form."""
    text = _USER.sub(r"\1…@", text)
    text = _QUERY.sub(r"\1…", text)
    text = _HEADER.sub(r"\1\2…", text)
    return _SIGNATURE.sub(r"\1…", text)


def guard_log() -> None:
    """From now on no record of the logger `bentosync` holds a secret. Called before credentials are looked for."""
    logging.getLogger("bentosync").addFilter(_FILTER)


class _RedactingFilter(logging.Filter):
    """Lets every record pass, without its secrets."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the message by its redacted form."""
        record.msg, record.args = without_secrets(record.getMessage()), ()
        return True


_FILTER = _RedactingFilter()
