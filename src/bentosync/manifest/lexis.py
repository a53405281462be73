"""The words of JSON as byte patterns, for documents whose grammar is so narrow that matching it is the parser.

A general JSON parser builds whatever the document says before anyone can object: a few megabytes of brackets become
gigabytes of lists. A pattern objects at the first byte that does not belong, in linear time. Every repeat that is
followed by something else is possessive, so the matcher never goes back and its stack does not grow.
"""

from __future__ import annotations

import json

from bentosync.errors import UnsafeInput

SPACE = rb"[ \t\n\r]*+"
STRING = rb'"((?:[^"\\\x00-\x1f]++|\\.)*+)"'
"""Captures what stands between the quotes, still escaped; `unescaped` judges the escapes and the UTF-8."""

NUMBER = rb"(?:0|[1-9][0-9]{0,15}+)"
"""A non-negative integer of at most 16 digits."""

INTEGER = rb"(" + NUMBER + rb")"
"""Captures a number."""


def unescaped(text: bytes) -> str:
    """The string between two quotes.

    Raises:
        UnsafeInput: An unknown escape, half a surrogate pair, or not UTF-8.
    """
    try:
        decoded = text.decode()
        if "\\" in decoded:
            decoded = str(json.loads(f'"{decoded}"'))
            decoded.encode()
    except ValueError:
        raise UnsafeInput(f"not a valid string: {text[:80]!a}") from None
    return decoded
