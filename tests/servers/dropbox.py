"""Dropbox's HTTP API v2, as much as exports and imports need: upload sessions, downloads with Range, listings, tokens.

https://www.dropbox.com/developers/documentation/http/documentation. Content hashes that come with uploads are checked.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.servers.cloud import Cloud, Handler, serving

_PAGE = 3
_ABSENT = {".tag": "path", "path": {".tag": "not_found"}}


class _Dropbox(Handler):
    def do_POST(self) -> None:  # noqa: N802
        self.enter()
        if self.headers.get("Authorization") != f"Bearer {self.cloud.token}":
            self.body()
            self.reply_json({"error_summary": "invalid_access_token/", "error": {".tag": "invalid_access_token"}}, 401)
            return
        route = self.path.removeprefix("/2/files/").replace("/", "_")
        data = self.body()
        carried = self.headers.get("Dropbox-API-Arg")
        argument: dict[str, Any] = json.loads(carried if carried is not None else data or b"{}")
        if argument.get("content_hash") not in (None, content_hash(data)):
            self._refuse({".tag": "content_hash_mismatch"})
            return
        getattr(self, f"_{route}")(argument, data)

    def _get_metadata(self, argument: dict[str, Any], data: bytes) -> None:
        path = argument["path"]
        if path in self.cloud.files:
            self.reply_json(self._file(path))
        elif any(name.startswith(f"{path}/") for name in self.cloud.files):
            self.reply_json(_folder(path))
        else:
            self._refuse(_ABSENT)

    def _list_folder(self, argument: dict[str, Any], data: bytes) -> None:
        root = argument["path"]
        inside = [name for name in sorted(self.cloud.files) if name.startswith(f"{root}/")]
        if not inside and root:
            self._refuse(_ABSENT)
            return
        folders = {"/".join(name.split("/")[:depth]) for name in inside for depth in range(2, name.count("/") + 1)}
        entries = [_folder(name) for name in sorted(folders) if name.startswith(root)]
        self._page([*entries, *map(self._file, inside)])

    def _list_folder_continue(self, argument: dict[str, Any], data: bytes) -> None:
        self._page(json.loads(self.cloud.sessions[argument["cursor"]]))

    def _page(self, entries: list[dict[str, Any]]) -> None:
        cursor = secrets.token_hex(8)
        self.cloud.sessions[cursor] = bytearray(json.dumps(entries[_PAGE:]).encode())
        self.reply_json({"entries": entries[:_PAGE], "cursor": cursor, "has_more": len(entries) > _PAGE})

    def _download(self, argument: dict[str, Any], data: bytes) -> None:
        path = argument["path"]
        if path not in self.cloud.files:
            self._refuse(_ABSENT)
            return
        self.reply_range(self.cloud.files[path], Dropbox_API_Result=json.dumps(self._file(path)))

    def _upload(self, argument: dict[str, Any], data: bytes) -> None:
        self._store(argument, data)

    def _upload_session_start(self, argument: dict[str, Any], data: bytes) -> None:
        identity = secrets.token_hex(8)
        self.cloud.sessions[identity] = bytearray(data)
        self.reply_json({"session_id": identity})

    def _upload_session_append_v2(self, argument: dict[str, Any], data: bytes) -> None:
        session = self.cloud.sessions[argument["cursor"]["session_id"]]
        assert len(session) % (4 << 20) == 0, "all chunks but the last are multiples of 4 MiB"
        if argument["cursor"]["offset"] != len(session):
            self._refuse({".tag": "incorrect_offset", "correct_offset": len(session)})
            return
        session += data
        self.reply_json(None)

    def _upload_session_finish(self, argument: dict[str, Any], data: bytes) -> None:
        session = self.cloud.sessions.pop(argument["cursor"]["session_id"])
        assert argument["cursor"]["offset"] == len(session)
        self._store(argument["commit"], bytes(session) + data)

    def _delete_v2(self, argument: dict[str, Any], data: bytes) -> None:
        path = argument["path"]
        if path not in self.cloud.files:
            self._refuse({".tag": "path_lookup", "path_lookup": {".tag": "not_found"}})
            return
        entry = self._file(path)
        del self.cloud.files[path]
        self.reply_json({"metadata": entry})

    def _store(self, commit: dict[str, Any], data: bytes) -> None:
        mode = commit.get("mode", "add")
        assert (mode if isinstance(mode, str) else mode[".tag"]) == "overwrite"
        self.cloud.files[commit["path"]] = data
        entry = self._file(commit["path"])
        del entry[".tag"]  # these two routes return a file and nothing else
        self.reply_json(entry)

    def _file(self, path: str) -> dict[str, Any]:
        data = self.cloud.files[path]
        return {
            ".tag": "file", "name": path.rpartition("/")[2], "id": "id:aaaaaaaaaaaaaaaaaaaaaa", "path_display": path,
            "path_lower": path.lower(), "client_modified": "2026-01-01T00:00:00Z", "rev": "0123456789abcdef",
            "server_modified": "2026-01-01T00:00:00Z", "size": len(data), "content_hash": content_hash(data),
        }  # fmt: skip

    def _refuse(self, error: dict[str, Any]) -> None:
        self.reply_json({"error_summary": f"{error['.tag']}/", "error": error}, 409)


def _folder(path: str) -> dict[str, Any]:
    return {
        ".tag": "folder", "name": path.rpartition("/")[2], "id": "id:bbbbbbbbbbbbbbbbbbbbbb", "path_display": path,
        "path_lower": path.lower(),
    }  # fmt: skip


def content_hash(data: bytes) -> str:
    """SHA-256 of the SHA-256 of every 4 MiB."""
    blocks = (data[start : start + (4 << 20)] for start in range(0, len(data), 4 << 20))
    return hashlib.sha256(b"".join(hashlib.sha256(block).digest() for block in blocks)).hexdigest()


def dropbox(folder: Path) -> AbstractContextManager[Cloud]:
    """A running server with an empty Dropbox, over TLS, because the library speaks nothing else."""
    return serving(_Dropbox, folder)
