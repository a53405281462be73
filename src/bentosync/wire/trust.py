"""Which authorities vouch for the other side of a TLS connection."""

from __future__ import annotations

import ssl
from pathlib import Path

from bentosync.errors import InvalidArgument


def trusted(ca_bundle: str | None) -> ssl.SSLContext:
    """The system's authorities, or those of a PEM file or folder. Raises `InvalidArgument` if it cannot be read."""
    if ca_bundle is None:
        return ssl.create_default_context()
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if Path(ca_bundle).is_dir():
            context.load_verify_locations(capath=ca_bundle)
        else:
            context.load_verify_locations(cafile=ca_bundle)
    except (OSError, ssl.SSLError) as error:
        raise InvalidArgument(f"CA bundle {ca_bundle} cannot be read: {error}", hint="name a PEM file") from error
    return context
