"""What a user holds of a network that sees: `.model(batch)`, `.features(batch)`, and the same of files.

see = kinema.load("omnivore")
see.classify("photo.jpg")[0].label
vectors = see.embed(["photo.jpg", "clip.mp4"])          # (2, D)
inner = see.intermediate(see.prepare("photo.jpg"), ["blocks.3"])
"""

# V views of a file, B batch, D width of features, C classes

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from kinema.data.preprocessing import Preprocessing
from kinema.errors import UserError
from kinema.media.files import PathLike
from kinema.vision.media import Kind, Media, read_media

FRAMES: Final = 8  # of a clip that networks for images look at
BATCH: Final = 16
SHAPES: Final[dict[Kind, str]] = {
    "image": "(B, 3, H, W) of images",
    "video": "(B, 3, T, H, W) of clips",
    "rgbd": "(B, 4, 1, H, W) of pictures with depth",
}


@dataclass(frozen=True)
class Guess:
    """A class with the share of belief that it got, 0 to 1."""

    label: str
    share: float
    number: int


@dataclass(frozen=True, kw_only=True)
class Networks:
    """How a room's network is used. All take normalised pixels on the network's device.

    kinds: the inputs that it takes as they are; a network without `video` sees a clip frame by frame.
    frames: of a clip that it looks at; `views` repeats some of a shorter one, and `Vision.notes` says so.
    views: a file's pixels to a batch (V, ...) of that kind, on the CPU, whose results are averaged.
    logits: (V, ...) and kind to (V, C), or None without a classifier.
    """

    network: nn.Module
    features: Callable[[Tensor], Tensor]
    dense: Callable[[Tensor], Tensor]
    views: Callable[[Media], Tensor]
    kinds: tuple[Kind, ...] = ("image",)
    frames: int | None = None
    logits: Callable[[Tensor, Kind], Tensor] | None = None


def image_networks(network: nn.Module, preprocessing: Preprocessing, *, classes: bool) -> Networks:
    """The functions of a network for images that has `features`, `dense` and, with `classes`, logits as its call."""
    seen: Any = network
    return Networks(
        network=network,
        features=seen.features,
        dense=seen.dense,
        views=lambda media: preprocessing.image(media.frames[0])[None],
        logits=(lambda batch, kind: seen(batch)) if classes else None,
    )


class Vision:
    """A network that sees, with its preprocessing and the names of its classes.

    Args:
        parts: the network's functions.
        name: of the model, for messages and provenance.
        labels: kind of input -> names of the classes; a class without a name is called by its number.
        config, preprocessing: settings of the network and of its pixels, for looking them up.
        device: where it runs.
    """

    def __init__(
        self,
        parts: Networks,
        *,
        name: str,
        labels: Mapping[str, Sequence[str]] | None = None,
        config: Any = None,
        preprocessing: Any = None,
        device: str = "cpu",
        weights_hash: str = "",
    ) -> None:
        self.parts, self.name, self.device = parts, name, torch.device(device)
        self.labels = {kind: tuple(names) for kind, names in (labels or {}).items()}
        self.config, self.preprocessing, self.weights_hash = config, preprocessing, weights_hash
        self.network = parts.network.to(self.device).eval()

    @torch.inference_mode()
    def model(self, batch: Tensor) -> Tensor:
        """Logits (B, C) of normalised pixels; which head answers follows from their shape, see `kind_of`.

        Raises:
            UserError: the weights have no classifier, or the pixels do not fit the network.
        """
        if self.parts.logits is None:
            raise UserError(
                f"these weights of {self.name} have no classifier: use `features`, or weights with classes"
            )
        with _sentences(self.name):
            return self.parts.logits(self._placed(batch), kind_of(batch))

    @torch.inference_mode()
    def features(self, batch: Tensor) -> Tensor:
        """The pooled embedding (B, D) of normalised pixels: images (B, 3, S, S), and what else the network takes."""
        with _sentences(self.name):
            return self.parts.features(self._placed(batch))

    @torch.inference_mode()
    def dense(self, batch: Tensor) -> Tensor:
        """An embedding for every place: (B, D, H', W') of images, (B, D, T', H', W') where the network sees time."""
        with _sentences(self.name):
            return self.parts.dense(self._placed(batch))

    @torch.inference_mode()
    def intermediate(self, batch: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """What these modules of the network give on the way to the features, caught by forward hooks.

        Args:
            layers: names as `dict(see.network.named_modules())` has them, such as `blocks.3`.

        Raises:
            UserError: there is no such module, or it is not on the way.
        """
        known, found = dict(self.network.named_modules()), dict[str, Tensor]()
        layers = tuple(layers)
        for layer in layers:
            if layer not in known:
                raise UserError(
                    f"{self.name} has no layer '{layer}': they are named as in network.named_modules()"
                )

        def keep(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, given: object, output: Tensor) -> None:
                found[name] = output

            return hook

        hooks = [known[layer].register_forward_hook(keep(layer)) for layer in layers]
        try:
            self.features(batch)
        finally:
            for hook in hooks:
                hook.remove()
        absent = [layer for layer in layers if layer not in found]
        if absent:
            raise UserError(f"nothing passed through '{absent[0]}' on the way to the features of {self.name}")
        return found

    def prepare(self, file: PathLike | Media, depth: PathLike | None = None) -> Tensor:
        """The network's views of a file, normalised: (V, 3, S, S), or (V, 3, T, S, S) of a clip it sees as one."""
        return self._views(self._media(file, depth))

    @torch.inference_mode()
    def probabilities(self, file: PathLike | Media, depth: PathLike | None = None) -> Tensor:
        """The classes' shares (C,), averaged over the views."""
        media = self._media(file, depth)
        views = self._views(media)
        logits = torch.cat([self.model(part) for part in views.split(BATCH)])
        return logits.float().softmax(1).mean(0).cpu()

    def classify(
        self,
        file: PathLike | Media,
        top: int = 5,
        depth: PathLike | None = None,
        names: Sequence[str] | None = None,
    ) -> list[Guess]:
        """The `top` likeliest classes of a picture, a clip, or a picture with its depth.

        names: of the classes, in place of those that came with the weights.

        Raises:
            UserError: the file cannot be read, the weights have no classifier for its kind, or there are not as many
                names as classes.
        """
        if top < 1:
            raise UserError(f"top={top} classes cannot be shown: ask for at least 1")
        media = self._media(file, depth)
        shares = self.probabilities(media)
        if names is None:
            own = self.labels.get(media.kind) or self.labels.get("image", ())
            names = own if len(own) == len(shares) else ()
        elif len(names) != len(shares):
            raise UserError(
                f"there are {len(names)} names and {self.name} has {len(shares)} classes: give one for each"
            )
        best = shares.topk(min(top, len(shares)))
        return [
            Guess(names[number] if names else f"class {number}", share, number)
            for share, number in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]

    @torch.inference_mode()
    def embed(self, files: Sequence[PathLike | Media]) -> Tensor:
        """Pooled embeddings of files, the mean over a file's views: float32 (N, D), on the CPU, not normalised."""
        if not files:
            raise UserError("there are no files to embed: name at least one")
        rows = []
        for file in files:
            views = self._views(self._media(file, None))
            rows.append(torch.cat([self.features(part) for part in views.split(BATCH)]).float().mean(0).cpu())
        return torch.stack(rows)

    def embed_dense(self, file: PathLike | Media) -> Tensor:
        """An embedding for every place, the mean over a file's views: float32 (D, H', W'), or (D, T', H', W')."""
        views = self._views(self._media(file, None))
        return torch.cat([self.dense(part) for part in views.split(BATCH)]).float().mean(0).cpu()

    def notes(self, media: Media) -> tuple[str, ...]:
        """What is to be told of how a file is looked at, a phrase each: what was done to it, and what it lacks."""
        wanted = self.parts.frames
        if media.kind == "video" and wanted is not None and len(media.frames) < wanted:
            count = len(media.frames)
            short = f"the clip has {count} frame{'s' if count > 1 else ''}, {self.name} looks at {wanted}: some repeat"
            return (*media.notes, short)
        return media.notes

    def _media(self, file: PathLike | Media, depth: PathLike | None) -> Media:
        return file if isinstance(file, Media) else read_media(file, depth)

    def _views(self, media: Media) -> Tensor:
        if media.kind == "rgbd" and "rgbd" not in self.parts.kinds:
            raise UserError(f"{self.name} has no input for depth: leave the depth out")
        if media.kind == "video" and "video" not in self.parts.kinds:
            return torch.cat(
                [
                    self.parts.views(Media("image", frame[None], media.name))
                    for frame in spread(media.frames, FRAMES)
                ]
            )
        return self.parts.views(media)

    def _placed(self, batch: Tensor) -> Tensor:
        kind, kinds = kind_of(batch), self.parts.kinds
        channels = 4 if kind == "rgbd" else 3
        if kind not in kinds or batch.shape[1] != channels or (batch.ndim == 5 and "video" not in kinds):
            known = ", ".join(SHAPES[each] for each in kinds)
            raise UserError(
                f"{self.name} cannot look at this: pixels have the shape {tuple(batch.shape)}, expected {known}"
            )
        parameter = next(self.network.parameters())
        return batch.to(self.device, parameter.dtype)


def kind_of(batch: Tensor) -> Kind:
    """What a batch of pixels is: RGB-D with four channels, a clip with more than one frame, else images."""
    if batch.ndim not in (4, 5) or 0 in batch.shape:
        raise UserError(
            f"pixels have the shape {tuple(batch.shape)}: expected (B, 3, H, W), or (B, 3, T, H, W) of clips"
        )
    if batch.shape[1] == 4:
        return "rgbd"
    return "video" if batch.ndim == 5 and batch.shape[2] > 1 else "image"


def spread(frames: np.ndarray, count: int) -> np.ndarray:
    """`count` frames from the middles of equal parts of a clip; all of a shorter one."""
    if len(frames) <= count:
        return frames
    middles = (np.arange(count) + 0.5) * len(frames) / count
    return frames[middles.astype(int)]


@contextmanager
def _sentences(name: str) -> Iterator[None]:
    """Errors that a network raises for pixels of a wrong shape become a sentence."""
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{name} cannot look at this: {error}") from error
