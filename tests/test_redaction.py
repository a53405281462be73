"""What is logged or printed never holds a secret that can be told by its form, and is otherwise unchanged."""

from __future__ import annotations

import logging

import pytest

from bentosync.redaction import guard_log, without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://AKID:hidden@bucket/p is refused", "s3://…@bucket/p is refused"),
        ("http://user@host/", "http://…@host/"),
        ("GET /k?x=1&X-Amz-Signature=hidden&y=2", "GET /k?x=1&X-Amz-Signature=…&y=2"),
        ("/k?X-Amz-Credential=hidden%2F2026 and more", "/k?X-Amz-Credential=… and more"),
        ("https://h/k?sig=hidden#part", "https://h/k?sig=…#part"),
        ("{'Authorization': 'AWS4-HMAC-SHA256 hidden'}", "{'Authorization': '…'}"),
        ("Cookie: hidden=1; b=2\nHost: h", "Cookie: …\nHost: h"),
        ('"x-amz-security-token": "hidden"', '"x-amz-security-token": "…"'),
        ("SignedHeaders=host, Signature=0123456789abcdef0123", "SignedHeaders=host, Signature=…"),
        ("me@host, m@b3:0123, s3://bucket/a@b, token=word", "me@host, m@b3:0123, s3://bucket/a@b, token=word"),
    ],
)  # fmt: skip
def test_secrets_go_and_the_rest_stays(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert without_secrets(shown) == shown


def test_a_guarded_log_says_none(caplog: pytest.LogCaptureFixture) -> None:
    guard_log()
    logging.getLogger("bentosync").warning("refused %s after %d tries", "https://u:hidden@h/", 3)
    assert caplog.messages == ["refused https://…@h/ after 3 tries"]
