"""What `generate` and `rerun` share: open a model, make one clip with its provenance, write it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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


Chooser = Callable[[Sequence["Video"], str], Sequence[float]]  # clips and their prompt -> a score for each
MOST_CANDIDATES = 64


@dataclass(frozen=True)
class Model:
    """A loaded pipeline and the names under which provenance records it."""

    name: str
    pipeline: Pipeline
    weights: str  # nano, official, or "file": a path of the user's stays private
    weights_hash: str
    options: Mapping[str, Any] = field(default_factory=dict)  # see `check_options`


@dataclass(frozen=True)
class Opened:
    """A loaded pipeline that works on clips, and the names under which their provenance records it."""

    pipeline: Any
    weights: str  # as in `Model`
    weights_hash: str


@dataclass(frozen=True)
class Made:
    """One finished clip and what there is to say about it."""

    video: Video
    notices: list[str]
    prompt_used: str
    seconds: float


def check_options(name: str, **options: Any) -> dict[str, Any]:
    """Those of compile, offload, cache and measure_cache that were given; one that does not fit is a `UserError`."""
    from kinema import hub

    entry = hub.find(name)
    given = {option: value for option, value in options.items() if value not in (None, False)}
    for option in given:
        if entry.makes == "generate" and option.removeprefix("measure_") not in entry.options:
            raise UserError(f"{entry.name} takes no --{option.replace('_', '-')}: leave it out")
    if given.get("offload", "cpu") not in ("cpu", "file"):
        raise UserError(f"--offload is '{given['offload']}' and must be cpu or file")
    if "offload" in given and "compile" in given:
        raise UserError(
            "--compile needs the blocks in one place and --offload moves them: use one of the two"
        )
    if not 0 < given.get("cache", 0.1) < 1:
        raise UserError(f"--cache is {given['cache']:g} and must lie between 0 and 1, such as 0.1")
    if "measure_cache" in given and "cache" not in given:
        raise UserError(
            "--measure-cache measures what --cache changes: give --cache as well, such as --cache 0.1"
        )
    return given


def open_model(name: str, weights: str, device: str, **options: Any) -> Model:
    """Check the name, the weights and the device, in this order, then load. Tests put a tiny model here.

    options: what `check_options` gave.
    """
    from kinema import hub
    from kinema.weights import weights_hash

    entry = hub.find(name)
    if entry.makes != "generate":
        raise UserError(f"{entry.name} makes no clips from text: use `kinema {entry.makes}`")
    path = hub.resolve_weights(entry, weights)
    loading = {option: value for option, value in options.items() if option == "offload"}
    pipeline = hub.load(name, weights, device, **loading)
    if options.get("compile"):
        pipeline.compile()
    return Model(
        name=entry.name,
        pipeline=pipeline,
        weights=kind_of(weights),
        weights_hash=weights_hash(path),
        options=options,
    )


def open_for_clips(name: str, weights: str, device: str) -> Opened:
    """Check the weights and the device of a model that takes a clip, then load it."""
    from kinema import hub
    from kinema.weights import weights_hash

    path = hub.resolve_weights(hub.find(name), weights)
    return Opened(hub.load(name, weights, device), kind_of(weights), weights_hash(path))


def kind_of(weights: str) -> str:
    """What provenance says of --weights: a path of the user's stays private."""
    return weights if weights in ("nano", "official") else "file"


def make(model: Model, request: Request, on_step: Callable[..., None] | None = None) -> Made:
    """Make one clip. Clips are made one at a time, so that a file does not depend on what was made beside it."""
    import torch

    began = time.perf_counter()
    cached = {name: value for name, value in model.options.items() if name in ("cache", "measure_cache")}
    asked = {**request.settings(), **cached}
    (clip,) = model.pipeline.generate([request.prompt], seeds=[request.seed], on_step=on_step, **asked)
    frames = clip.video.frames
    from_pipeline = _settings(clip.video.metadata.get("kinema"))
    settings = {
        **from_pipeline,
        **request.settings(),
        **model.options,
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


def find_chooser(name: str, count: int) -> Chooser | None:
    """What picks one clip of `count` made for a prompt; None where there is nothing to pick from."""
    from kinema import hub

    if not 1 <= count <= MOST_CANDIDATES:
        raise UserError(f"--best-of is {count} and must lie between 1 and {MOST_CANDIDATES}")
    if count == 1:
        return None
    entry = hub.find(name)
    if entry.chooser is None:
        raise UserError(f"{entry.name} has no judge that could choose: leave out --best-of")
    found: Chooser = hub.resolve(entry.chooser)
    return found


def make_best(
    model: Model,
    request: Request,
    count: int,
    chooser: Chooser,
    on_step: Callable[..., None] | None = None,
) -> tuple[Request, Made]:
    """Make `count` clips with seeds one apart and keep the best. The clip is that of its own seed, so it reruns."""
    requests = [replace(request, seed=request.seed + k) for k in range(count)]
    made = [make(model, one, on_step) for one in requests]
    scores = chooser([one.video for one in made], request.prompt)
    best = max(range(count), key=scores.__getitem__)
    seconds = sum(one.seconds for one in made)
    note = f"The judges chose seed {requests[best].seed} of {count}."
    return requests[best], replace(made[best], notices=[*made[best].notices, note], seconds=seconds)


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
