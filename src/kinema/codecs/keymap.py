"""Rename the tensors of a published file to our names: a table of rules, and nothing outside it passes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from kinema.errors import UserError


@dataclass(frozen=True)
class Rule:
    """What becomes of the tensors whose whole name matches `pattern`.

    `name` is the new name, with groups as in `re.Match.expand` or computed from the match; without one they
    are dropped, and `reason` says why. `change` is applied to the tensor.
    """

    pattern: str
    name: str | Callable[[re.Match[str]], str] | None = None
    reason: str = ""
    change: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        if (self.name is None) != bool(self.reason):
            raise ValueError(
                f"the rule for '{self.pattern}' needs either a new name or a reason to drop, not both"
            )


@dataclass(frozen=True)
class Renamed:
    """Tensors under their new names, and what was dropped: name -> reason."""

    state: dict[str, Tensor]
    dropped: dict[str, str]


def rename(state: Mapping[str, Tensor], rules: Sequence[Rule], source: str | Path) -> Renamed:
    """Apply to each tensor the first rule that matches.

    Raises UserError where no rule matches a name, or two names become one.
    """
    out, dropped, unknown, came_from = dict[str, Tensor](), dict[str, str](), list[str](), dict[str, str]()
    for key, value in state.items():
        rule, match = _first(rules, key)
        if rule is None or match is None:
            unknown.append(key)
        elif rule.name is None:
            dropped[key] = rule.reason
        else:
            name = match.expand(rule.name) if isinstance(rule.name, str) else rule.name(match)
            if name in out:
                raise UserError(
                    f"'{came_from[name]}' and '{key}' in '{source}' are both '{name}': the file holds the"
                    " network twice, so save one of them alone"
                )
            out[name], came_from[name] = value if rule.change is None else rule.change(value), key
    if unknown:
        shown = ", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else "")
        raise UserError(
            f"'{source}' holds tensors of no published layout that kinema knows for this network: {shown}."
            " Check that it is the file of this network"
        )
    return Renamed(out, dropped)


def _first(rules: Sequence[Rule], key: str) -> tuple[Rule | None, re.Match[str] | None]:
    for rule in rules:
        match = re.fullmatch(rule.pattern, key)
        if match is not None:
            return rule, match
    return None, None
