"""The Hugging Face Hub, as much as reading one public model needs: its tree, its files with ranges."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers.cloud import Cloud, Handler, serving

_COMMIT = "0123456789abcdef0123456789abcdef01234567"
_API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/(tree|paths-info|revision)/([^/]+)/?(.*))?")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)")


class _Hub(Handler):
    """`Cloud.files` holds `organisation/model/path`."""

    def do_GET(self) -> None:  # noqa: N802
        self.enter()
        path = unquote(urlsplit(self.path).path)
        if (found := _FILE.fullmatch(path)) is not None:
            name = f"{found[1]}/{found[2]}"
            if name not in self.cloud.files:
                self.reply(404, X_Error_Code="EntryNotFound")
            else:
                self.reply_range(self.cloud.files[name], X_Repo_Commit=_COMMIT, ETag='"1"')
            return
        asked = _API.fullmatch(path)
        if asked is None or not any(name.startswith(f"{asked[1]}/") for name in self.cloud.files):
            self.reply_json({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
        elif asked[2] in (None, "revision"):
            self.reply_json({"id": asked[1], "sha": _COMMIT, "siblings": [], "private": False})
        else:
            self.reply_json(self._tree(asked[1], asked[4]))

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:  # noqa: N802
        self.enter()
        asked = _API.fullmatch(unquote(urlsplit(self.path).path))
        assert asked is not None, self.path
        paths = parse_qs(self.body().decode())["paths"]
        self.reply_json([entry for path in paths for entry in self._about(asked[1], path)])

    def _about(self, model: str, path: str) -> list[dict[str, Any]]:
        name = f"{model}/{path}"
        if name in self.cloud.files:
            return [_entry(path, self.cloud.files[name])]
        inside = any(other.startswith(f"{name}/") for other in self.cloud.files)
        return [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0}] if inside else []

    def _tree(self, model: str, folder: str) -> list[dict[str, Any]]:
        start = f"{model}/{folder}/" if folder else f"{model}/"
        inside = sorted({name[len(start) :].split("/")[0] for name in self.cloud.files if name.startswith(start)})
        return [entry for name in inside for entry in self._about(model, f"{start}{name}"[len(model) + 1 :])]


def _entry(path: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "oid": "0" * 40, "size": len(data)}


def hub() -> AbstractContextManager[Cloud]:
    """A running server without models."""
    return serving(_Hub)
