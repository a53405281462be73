"""Which call gets which fault."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.servers.faulty.actions import Action
from tests.servers.faulty.call import Call


@dataclass
class Rule:
    """`action` for the calls that fit: free until the `nth` of them, then `times` of them (None: all)."""

    action: Action
    operation: str = "*"
    key: str = ""
    part: int | None = None
    where: Callable[[Call], bool] = lambda call: True
    nth: int = 1
    times: int | None = None
    seen: int = 0
    fired: int = 0

    def fits(self, call: Call) -> bool:
        """Whether the rule is about such calls at all."""
        return (
            self.operation in ("*", call.operation)
            and re.search(self.key, call.key) is not None
            and self.part in (None, call.part)
            and self.where(call)
        )

    def takes(self, call: Call) -> bool:
        """Whether it acts on this very call; counts it."""
        if not self.fits(call):
            return False
        self.seen += 1
        if self.seen < self.nth or (self.times is not None and self.fired >= self.times):
            return False
        self.fired += 1
        return True


@dataclass
class Book:
    """All rules, in order of injection."""

    rules: list[Rule] = field(default_factory=list)

    def choose(self, call: Call) -> Action:
        """The action for this call; the one that does nothing if no rule takes it."""
        return next((rule.action for rule in self.rules if rule.takes(call)), Action())
