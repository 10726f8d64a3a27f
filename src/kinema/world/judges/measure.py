"""How often the visual judge is right on true renders: its own accuracy, which stands beside every score it gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kinema.world.judges.labels import ATTRIBUTES, truth
from kinema.world.judges.lessons import to_float
from kinema.world.renderer import render
from kinema.world.scene import Scene, WorldSpec, sample_scene

if TYPE_CHECKING:
    from kinema.world.judges.video import VideoJudge

# Both vocabularies where a generator may be judged; every one of these scenes is unknown to the judge.
TABLES: tuple[tuple[str, str], ...] = (
    ("val", "full"),
    ("val", "nano"),
    ("test-pairs", "full"),
    ("test-pairs", "nano"),
    ("test-objects", "full"),
)


@dataclass
class Result:
    """Counts of right answers by attribute, and the mistakes."""

    total: int = 0
    right: Counter[str] = field(default_factory=Counter)
    wrong: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)

    def shares(self) -> dict[str, float]:
        """Attribute -> share of right answers."""
        return {a: round(self.right[a] / max(1, self.total), 5) for a in ATTRIBUTES}


def measure(judge: VideoJudge, scenes: Iterable[Scene], batch_size: int = 32) -> Result:
    """Render the scenes, read them, compare."""
    result, waiting = Result(wrong={a: Counter() for a in ATTRIBUTES}), list(scenes)
    for start in range(0, len(waiting), batch_size):
        group = waiting[start : start + batch_size]
        for scene, reading in zip(group, judge.read(to_float(render(group))), strict=True):
            result.total += 1
            wanted, seen = truth(scene), reading.labels()
            for attribute in ATTRIBUTES:
                if wanted[attribute] == seen[attribute]:
                    result.right[attribute] += 1
                else:
                    result.wrong[attribute][wanted[attribute], seen[attribute]] += 1
    return result


def held_out(split: str, vocabulary: str, count: int, first: int = 0) -> list[Scene]:
    """`count` scenes of a split in the world of a vocabulary ('nano' or 'full')."""
    spec = WorldSpec(vocabulary="nano" if vocabulary == "nano" else "full")
    return [sample_scene(split, first + i, spec) for i in range(count)]


def measure_all(judge: VideoJudge, count: int) -> dict[str, Result]:
    """Every table: 'split/vocabulary' -> result over `count` clips."""
    return {f"{s}/{v}": measure(judge, held_out(s, v, count)) for s, v in TABLES}


def table(results: Mapping[str, Result], mistakes: int = 4) -> str:
    """A markdown table of percentages, and each attribute's most frequent mistakes over all tables."""
    lines = [
        "| true renders | clips | " + " | ".join(ATTRIBUTES) + " |",
        "|---|---|" + "---|" * len(ATTRIBUTES),
    ]
    for name, result in results.items():
        shares = result.shares()
        lines.append(
            f"| {name} | {result.total} | " + " | ".join(f"{100 * shares[a]:.1f}" for a in ATTRIBUTES) + " |"
        )
    lines.append("")
    for attribute in ATTRIBUTES:
        wrong: Counter[tuple[str, str]] = Counter()
        for result in results.values():
            wrong.update(result.wrong[attribute])
        told = "; ".join(f"{w} read as {s} ({n})" for (w, s), n in wrong.most_common(mistakes))
        lines.append(f"{attribute}: {told or 'no mistakes'}")
    return "\n".join(lines)
