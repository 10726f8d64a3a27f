"""What `generate` and `rerun` share: open a model, make one clip with its provenance, write it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kinema import __version__
from kinema.cli.prompts import Request
from kinema.errors import UserError

if TYPE_CHECKING:
    from kinema.media import Video


class Clip(Protocol):
    """What a pipeline gives back for one prompt."""

    @property
    def video(self) -> Video: ...
    @property
    def notices(self) -> Sequence[str]: ...
    @property
    def prompt_used(self) -> str: ...


class Pipeline(Protocol):
    """What the command line asks of a model that makes clips."""

    def generate(
        self,
        prompts: Sequence[str],
        *,
        seeds: Sequence[int],
        on_step: Callable[..., None] | None,
        **settings: Any,
    ) -> Sequence[Clip]: ...


@dataclass(frozen=True)
class Model:
    """A loaded pipeline and the names under which provenance records it."""

    name: str
    pipeline: Pipeline
    weights: str  # nano, official, or "file": a path of the user's stays private
    weights_hash: str


@dataclass(frozen=True)
class Made:
    """One finished clip and what there is to say about it."""

    video: Video
    notices: list[str]
    prompt_used: str
    seconds: float


def open_model(name: str, weights: str, device: str) -> Model:
    """Check the name, the weights and the device, in this order, then load. Tests put a tiny model here."""
    from kinema import hub
    from kinema.weights import weights_hash

    entry = hub.find(name)
    if entry.makes != "generate":
        raise UserError(f"{entry.name} makes no clips from text: use `kinema {entry.makes}`")
    path = hub.resolve_weights(entry, weights)
    return Model(
        name=entry.name,
        pipeline=hub.load(name, weights, device),
        weights=weights if weights in ("nano", "official") else "file",
        weights_hash=weights_hash(path),
    )


def make(model: Model, request: Request, on_step: Callable[..., None] | None = None) -> Made:
    """Make one clip. Clips are made one at a time, so that a file does not depend on what was made beside it."""
    import torch

    began = time.perf_counter()
    (clip,) = model.pipeline.generate(
        [request.prompt], seeds=[request.seed], on_step=on_step, **request.settings()
    )
    frames = clip.video.frames
    from_pipeline = _settings(clip.video.metadata.get("kinema"))
    settings = {
        **from_pipeline,
        **request.settings(),
        "num_frames": frames.shape[0],
        "height": frames.shape[1],
        "width": frames.shape[2],
        "fps": clip.video.fps,
        "weights": model.weights,
        "threads": torch.get_num_threads(),
    }
    video = replace(
        clip.video, metadata={**clip.video.metadata, "kinema": _provenance(model, request, settings)}
    )
    return Made(video, list(clip.notices), clip.prompt_used, time.perf_counter() - began)


def write(video: Video, path: Path, *, overwrite: bool, metadata: bool = True) -> None:
    """Write a clip, making its folder when needed; without `metadata` nothing tells where it came from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (video if metadata else replace(video, metadata={})).write(path, overwrite=overwrite)


def counter(label: str, total: int | None, shown: bool) -> Callable[..., None] | None:
    """A counter on standard error for loops that report (done, ...) or (done, total); None where nobody looks."""
    if not (shown and sys.stderr.isatty()):
        return None

    def on_step(done: int, rest: Any = None) -> None:
        known = rest if isinstance(rest, int) else total
        of = f" of {known}" if known else ""
        print(f"\r\033[K{label}{done}{of}", end="", file=sys.stderr, flush=True)

    return on_step


def end_counter(shown: Callable[..., None] | None) -> None:
    """Clear the counter's line."""
    if shown is not None:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _settings(provenance: Any) -> Mapping[str, Any]:
    return getattr(provenance, "settings", None) or {}


def _provenance(model: Model, request: Request, settings: Mapping[str, Any]) -> Any:
    from kinema.media import Provenance

    return Provenance(
        prompt=request.prompt,
        seed=request.seed,
        model=model.name,
        weights_hash=model.weights_hash,
        version=__version__,
        settings=dict(settings),
    )
