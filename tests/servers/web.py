"""A plain web server: files, ranges, and basic authentication where a token is wanted."""

from __future__ import annotations

from contextlib import AbstractContextManager
from urllib.parse import urlsplit

from tests.servers.cloud import Cloud, Handler, serving


class _Web(Handler):
    def do_GET(self) -> None:  # noqa: N802
        self.enter()
        parts = urlsplit(self.path)
        if parts.path.startswith("/private/") and parts.query != f"signature={self.cloud.token}":
            self.reply(403)
        elif parts.path not in self.cloud.files:
            self.reply(404)
        else:
            self.reply_range(self.cloud.files[parts.path])

    do_HEAD = do_GET  # noqa: N815


def web() -> AbstractContextManager[Cloud]:
    """A running server. What lies below `/private/` is only for links with `?signature=<token>`."""
    return serving(_Web)
