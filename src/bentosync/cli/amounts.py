"""Numbers for people: sizes in IEC units as BentoML prints them, rates, durations, local times."""

from __future__ import annotations

from datetime import datetime

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def exact(size_bytes: float) -> str:
    """`"2.34 KiB"`: two decimals always, as `bentoml models list` prints sizes."""
    size, unit = _scaled(size_bytes)
    return f"{size:.2f} {unit}"


def brief(size_bytes: float) -> str:
    """`"2.34 KiB"`, `"16.1 GiB"`, `"512 MiB"`: three digits that matter, whole bytes below 1 KiB."""
    size, unit = _scaled(size_bytes)
    if unit == "B":
        return f"{size:.0f} B"
    return f"{size:.{2 if size < 10 else 1 if size < 100 else 0}f} {unit}"


def ratio(done_bytes: float, total_bytes: float) -> str:
    """`"10.0/16.1 GiB"`: both in the unit of the total."""
    _, unit = _scaled(total_bytes)
    factor = 1024 ** UNITS.index(unit)
    decimals = 0 if unit == "B" else 1
    return f"{done_bytes / factor:.{decimals}f}/{total_bytes / factor:.{decimals}f} {unit}"


def rate(bytes_per_second: float) -> str:
    """`"1.84 GiB/s"`."""
    return f"{brief(bytes_per_second)}/s"


def duration(seconds: float) -> str:
    """`"0.04s"`, `"7.1s"`, `"3m05s"`, `"2h10m"`."""
    if seconds < 1:
        return f"{seconds:.2f}s"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"


def local_time(moment: datetime) -> str:
    """`"2026-11-22 06:48:03"` in the machine's time zone, as `bentoml models list` prints times."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def plural(count: int, noun: str) -> str:
    """`"1 file"`, `"4 files"`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _scaled(size_bytes: float) -> tuple[float, str]:
    size = float(size_bytes)
    for unit in UNITS[:-1]:
        if abs(size) < 1024:
            return size, unit
        size /= 1024
    return size, UNITS[-1]
