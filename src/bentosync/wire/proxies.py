"""Which proxy a URL goes through, by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY as everywhere else.

aiohttp's own `trust_env` would do the same, but also look into ~/.netrc and add what it finds there to requests that
are anonymous on purpose.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit, urlunsplit

from msgspec import Struct, field

from bentosync import settings


class Proxy(Struct, frozen=True):
    """Where to connect instead, and the headers that only the proxy may see."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


def proxy_for(url: str) -> Proxy | None:
    """The proxy for `url`, or None to connect directly."""
    if sys.platform == "linux" and not settings.names_a_proxy():
        return None
    import urllib.request  # with http.client and email below it, 15 ms that few need

    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    address = proxies.get(parts.scheme) or proxies.get("all")
    if not address or urllib.request.proxy_bypass(parts.netloc):
        return None
    proxy = urlsplit(address if "://" in address else f"http://{address}")
    url = urlunsplit((proxy.scheme, proxy.netloc.rpartition("@")[2], "", "", ""))
    if not proxy.username:
        return Proxy(url)
    credentials = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
    return Proxy(url, {"Proxy-Authorization": f"Basic {base64.b64encode(credentials).decode()}"})
