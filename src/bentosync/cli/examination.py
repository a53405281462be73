"""The report of `remote test`, line by line: what was used, what worked, and what that is good for."""

from __future__ import annotations

from collections.abc import Iterator

from bentosync.cli import amounts
from bentosync.cli.probe import NEEDS, Examined, Step, facts

SKEW_SECONDS_SAID = 60.0
SKEW_SECONDS_MAX = 900.0
"""S3 refuses requests that are signed with another time; bentosync corrects its own by the store's clock."""


def lines(found: Examined) -> Iterator[str]:
    """All of it."""
    yield f"{found.name or found.url}: {_verdict(found)}"
    for label, text in (("url", found.url), *facts(found.access), *_clock(found)):
        yield _line(label, text)
    for name, step in found.steps.items():
        yield _line(name, _step(name, step, found))
    if found.round_trip_seconds is not None:
        yield _line("round trip", f"{found.round_trip_seconds * 1000:.1f} ms")
    for command in NEEDS:
        if "write" in found.steps or "write" not in NEEDS[command]:
            yield _line(command, _prospect(command, found))


def _verdict(found: Examined) -> str:
    if found.error is None:
        return "ok"
    return "some is refused" if any(step.ok for step in found.steps.values()) else "all is refused"


def _clock(found: Examined) -> Iterator[tuple[str, str]]:
    ahead = found.access.clock_ahead_seconds
    if ahead is None:
        return
    off = f"the store's is {amounts.duration(abs(ahead))} {'ahead' if ahead > 0 else 'behind'}"
    if abs(ahead) > SKEW_SECONDS_MAX:
        yield (
            "clock",
            f"BAD: {off}; S3 refuses what is signed more than 15 minutes off. bentosync goes by the store's "
            "clock, other tools will fail: set the clock of this machine (NTP)",
        )
    elif abs(ahead) > SKEW_SECONDS_SAID:
        yield "clock", f"{off}: set the clock of this machine (NTP) before it is 15 minutes, which S3 refuses"
    else:
        yield "clock", "agrees with the store's"


def _step(name: str, step: Step, found: Examined) -> str:
    if step.ok is None:
        return f"unknown: {step.note}"
    if not step.ok:
        why = f"refused: {step.lacks} is missing" if step.lacks else "refused"
        return f"{why}; {step.note}" if step.note else why
    if name == "conditional writes":
        return "yes" if found.conditional else "no: the store ignores them; push with --single-writer"
    rate = {"write": found.write_rate, "read files": found.read_rate}.get(name)
    return f"yes, {amounts.rate(rate)}" if rate else f"yes, {step.note}" if step.note else "yes"


def _prospect(command: str, found: Examined) -> str:
    match found.works(command):
        case True:
            return "will work"
        case False:
            return f"no: lacks {', '.join(found.lacking(command))}"
        case None:
            return "cannot be told"


def _line(label: str, text: str) -> str:
    return f"  {label:<20}{text}"
