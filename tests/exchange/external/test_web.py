"""Archives behind plain web addresses."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from bentosync.errors import AuthError, NetworkError, NotFound
from bentosync.exchange import place as places
from bentosync.exchange.exporting import export_model
from bentosync.exchange.importing import import_model
from bentosync.settings import Settings
from bentosync.store.store import Store
from tests.servers.cloud import Cloud
from tests.servers.web import web


@pytest.fixture
def server() -> Iterator[Cloud]:
    with web() as cloud:
        yield cloud


@pytest.fixture(scope="session")
def archives(store: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("archives")
    return {
        format: export_model(store, "big:v1", str(folder / format), format).path.read_bytes()
        for format in ("tar", "zip")
    }


@pytest.mark.parametrize("format", ["tar", "zip"])
@pytest.mark.parametrize("breaks", [False, True])
def test_an_archive_comes_in_also_over_a_connection_that_breaks(
    server: Cloud,
    archives: dict[str, bytes],
    store: Store,
    other: Store,
    impatient: Settings,
    format: str,
    breaks: bool,
) -> None:  # fmt: skip
    server.files["/models/x"] = archives[format]
    server.break_down_after = 5 << 20 if breaks else None
    model = import_model(other, places.of(f"http://127.0.0.1:{server.port}/models/x"), settings=impatient).model
    assert other.describe(model).pin == store.describe(store.get("big")).pin
    assert server.broke == breaks


def test_a_link_with_a_signature_works_and_is_never_shown(
    server: Cloud, archives: dict[str, bytes], store: Store, other: Store, impatient: Settings
) -> None:
    server.files["/private/x"] = archives["tar"]
    url = f"http://127.0.0.1:{server.port}/private/x?signature="
    for wrong in (url + "swordfish", url.replace("/private/", "/private/no/") + "good-token"):
        with pytest.raises((AuthError, NotFound)) as caught:
            import_model(other, places.of(wrong), settings=impatient)
        assert "swordfish" not in caught.value.message
        assert "good-token" not in caught.value.message
    seen: list[object] = []
    import_model(other, places.of(url + server.token), settings=impatient, on_event=seen.append)
    assert "good-token" not in str(seen)


def test_a_server_that_is_not_there_is_a_network_error_and_a_missing_file_is_not(
    server: Cloud, other: Store, impatient: Settings
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
    with pytest.raises(NetworkError):
        import_model(other, places.of(f"http://127.0.0.1:{port}/x.tar"), settings=impatient)
    with pytest.raises(NotFound):
        import_model(other, places.of(f"http://127.0.0.1:{server.port}/no/x.tar"), settings=impatient)
