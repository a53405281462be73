"""Options that are amounts: durations such as `7d`, sizes such as `200GB`, shares such as `5%`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from bentosync.settings.keys import Place, size

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


class Duration(click.ParamType[float]):
    """Seconds, from a number with a unit: `90s`, `30m`, `12h`, `7d`, `2w`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds."""
        if isinstance(value, int | float):
            return float(value)
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smhdw])", str(value).strip().lower())
        if found is None:
            self.fail(f"{value!r} is no duration; write 90s, 30m, 12h, 7d or 2w", param, ctx)
        return float(found[1]) * _SECONDS[found[2]]


class Size(click.ParamType[int]):
    """Bytes, as in the settings: `1048576`, `512MiB`, `200GB`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The bytes."""
        try:
            number = int(value) if str(value).isdecimal() else value
            return 0 if number == 0 else size(number, Place("", Path(), {}))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Share(click.ParamType[float]):
    """A part of a whole, over 0 and at most 1, from per cent: `5%`, `0.1%`."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The fraction."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?) ?%", str(value).strip())
        if found is None or not 0 < float(found[1]) <= 100:
            self.fail(f"{value!r} is no share; write 5%, 0.1% or 100%", param, ctx)
        return float(found[1]) / 100
