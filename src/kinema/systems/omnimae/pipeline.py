"""OmniMAE as users call it: pictures and clips to embeddings, to classes, and back from a few of their patches.

see = kinema.load("omnimae")
vectors = see.embed(["photo.jpg", "clip.mp4"])              # (2, D)
seen = see.reconstruct("clip.mp4", masked=0.95, seed=0)     # .masked .predicted .original, uint8 (T, S, S, 3)
"""

# V views of a file, T frames that the network sees, F frames of the file, S the network's side

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinema.data.preprocessing import Preprocessing
from kinema.errors import UserError
from kinema.media.files import PathLike
from kinema.nn import MaskedAutoencoder, VisionTransformer, masked_of
from kinema.systems.omnimae import weights
from kinema.systems.omnimae.data import SECONDS
from kinema.systems.omnimae.model import OmniMAEConfig, autoencoder, classifier
from kinema.systems.omnimae.objective import (
    CLIP_MASKED,
    IMAGE_MASKED,
    draw_keep,
    reconstructed,
    reconstruction_loss,
)
from kinema.vision import Kind, Media, Vision, read_vision
from kinema.vision.files import fill
from kinema.vision.pipeline import Networks
from kinema.weights import released_file, weights_hash

MOST_CLIPS: Final = 5  # that are taken from a long file where no published figure says how many
GREY: Final = 0.5  # where a patch was dropped
Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Views:
    """How a file becomes what the network sees.

    frames, seconds: of a clip; a file that does not say its rate is taken whole.
    clips: stretches that are spread evenly over a longer file; None for as many as cover it, five at most.
    crops: squares along the longer side of a clip's frames: 1 for the middle, 3 with both ends.
    """

    preprocessing: Preprocessing
    frames: int
    seconds: float = SECONDS
    clips: int | None = None
    crops: int = 1

    def __call__(self, media: Media) -> Tensor:
        """(1, 3, S, S) of a picture; (V, 3, T, S, S) of a clip."""
        if media.kind != "video":
            return self.preprocessing.image(media.frames[0])[None]
        return torch.stack(
            [
                self.preprocessing.clip(square)
                for stretch in self.stretches(media)
                for square in squares(stretch, self.crops)
            ]
        )

    def stretches(self, media: Media) -> list[Frames]:
        """Stretches of T frames each; where the file has fewer, they are repeated evenly (`Vision.notes` says so)."""
        have = len(media.frames)
        long = have if media.fps is None else min(have, max(1, round(self.seconds * media.fps)))
        if long == have:
            starts = [0]  # others would be the same
        else:
            count = min(MOST_CLIPS, math.ceil(have / long)) if self.clips is None else self.clips
            room = have - long
            starts = [room // 2] if count == 1 else np.linspace(0, room, count).astype(int).tolist()
        steps = np.linspace(0, long - 1, self.frames).astype(int)
        return [media.frames[start + steps] for start in starts]


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """Frames uint8 (T, S, S, 3), one of a picture.

    masked: what the encoder saw, grey elsewhere. predicted: the same, with the decoder's patches where grey was; mean
    colour and contrast of each are the true ones, since the network predicts neither. original: what it should be.
    error: mean squared error of the normalised patches; 1 where the network does no better than their mean colour.
    """

    masked: Frames
    predicted: Frames
    original: Frames
    error: float

    def strips(self, scale: int = 2, gap: int = 4) -> Frames:
        """What was seen, predicted and true, one below the other, frames side by side: uint8 (H, W, 3)."""
        rows = []
        for frames in (self.masked, self.predicted, self.original):
            large = frames.repeat(scale, 1).repeat(scale, 2)
            edged = np.pad(large, ((0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
            rows.append(np.concatenate(list(edged), 1))
        return np.concatenate(rows)[:-gap, :-gap]


class OmniMAE(Vision):
    """`Vision`, and with pre-trained weights a look at what they fill in."""

    @torch.inference_mode()
    def reconstruct(
        self, file: PathLike | Media, masked: float | None = None, seed: int = 0
    ) -> Reconstruction:
        """Drop patches of a picture or clip and predict them from the others.

        Args:
            masked: share of patches that are dropped; without one what training dropped, 0.90 of a picture's and 0.95
                of a clip's.
            seed: of the choice of patches.

        Raises:
            UserError: the weights have no decoder, the share is not in [0, 1), or the file cannot be read.
        """
        model = self.network
        if not isinstance(model, MaskedAutoencoder):
            raise UserError(
                f"{self.name} was finetuned and has no decoder left: take pre-trained weights to fill in patches"
            )
        media = self._media(file, None)
        views = self._views(media)
        x = self._placed(views[len(views) // 2][None])
        share = (IMAGE_MASKED if x.ndim == 4 else CLIP_MASKED) if masked is None else masked
        keep = draw_keep(model, x, share, torch.Generator().manual_seed(seed))
        shown = _shown(model, x, keep)
        original = self.preprocessing.pixels(x)
        predicted = reconstructed(model, x, keep, self.preprocessing)
        return Reconstruction(
            masked=_frames(torch.where(shown, original, GREY)),
            predicted=_frames(torch.where(shown, original, predicted)),
            original=_frames(original),
            error=reconstruction_loss(model, x, keep, self.preprocessing).item(),
        )


def load(path: Path | None, device: str = "cpu", name: str | None = None) -> OmniMAE:
    """Open kinema's own weights, or with `name` the released file of that name, see `weights.CHECKPOINTS`.

    Pre-trained weights give features and reconstructions; finetuned ones classes. A file finetuned on ImageNet sees a
    clip frame by frame, the others as one.

    Raises:
        UserError: the file is missing (says where it is offered), damaged, or of another network.
    """
    if name is not None:
        known = weights.checkpoint(name)
        file = released_file(path, "OmniMAE", known.licence, known.address)
        network = weights.load(file, name)
        published = known.clips > 1
        views = Views(
            preprocessing=known.preprocessing,
            frames=known.config.frames,
            clips=known.clips if published else None,
            crops=known.views,
        )
        still = known.num_classes == 1000
        return _ready(network, views, known.config, f"omnimae/{name}", device, file, still=still)
    if path is None:
        raise UserError("OmniMAE needs weights: give a file with --weights FILE")
    state, about = read_vision(path, "omnimae")
    config = OmniMAEConfig.from_dict(about.config)
    preprocessing = Preprocessing.from_dict(about.preprocessing)
    classes = max((len(names) for names in about.labels.values()), default=0)
    with torch.device("meta"):
        if about.network == "autoencoder":
            network = autoencoder(config)
        elif about.network == "classifier" and classes:
            network = classifier(config, classes)
        else:
            raise UserError(f"'{path.name}' holds the network '{about.network}', which OmniMAE does not have")
    fill(network, state, path)
    views = Views(
        preprocessing=preprocessing,
        frames=config.frames,
        seconds=float(about.facts.get("clip_seconds", SECONDS)),
    )
    still = about.network == "classifier" and "video" not in about.labels
    return _ready(network, views, config, "omnimae-nano", device, path, labels=about.labels, still=still)


def _ready(
    network: VisionTransformer | MaskedAutoencoder,
    views: Views,
    config: OmniMAEConfig,
    name: str,
    device: str,
    file: Path,
    *,
    still: bool,
    labels: Any = None,
) -> OmniMAE:
    """still: a classifier of pictures, which looks at a clip frame by frame."""
    return OmniMAE(
        _networks(network, views, still),
        name=name,
        labels=labels,
        config=config,
        preprocessing=views.preprocessing,
        device=device,
        weights_hash=weights_hash(file),
    )


def _networks(network: VisionTransformer | MaskedAutoencoder, views: Views, still: bool) -> Networks:
    kinds: tuple[Kind, ...] = ("image",) if still else ("image", "video")
    frames = None if still else views.frames
    if isinstance(network, MaskedAutoencoder):
        encoder = network.encoder
        return Networks(
            network=network,
            features=lambda x: encoder.encode(x).mean(1),  # the norm was trained on tokens, not on their mean
            dense=encoder.dense,
            views=views,
            kinds=kinds,
            frames=frames,
        )
    return Networks(
        network=network,
        features=network.features,
        dense=network.dense,
        views=views,
        kinds=kinds,
        frames=frames,
        logits=lambda x, kind: network(x),
    )


def squares(frames: Frames, count: int) -> list[Frames]:
    """Squares (T, s, s, 3) along the longer side of (T, H, W, 3), ends included; one is the whole frame instead.

    The whole frame is what `Preprocessing` cuts the middle out of.
    """
    if count == 1:
        return [frames]
    rows, columns = frames.shape[1:3]
    short = min(rows, columns)
    places = np.linspace(0, max(rows, columns) - short, count).round().astype(int).tolist()
    return [frames[:, p : p + short] if rows > columns else frames[:, :, p : p + short] for p in places]


def _shown(model: MaskedAutoencoder, x: Tensor, keep: Tensor) -> Tensor:
    """True at the pixels of the kept patches, in the shape of `x` with one channel."""
    grid = model.encoder.stem.grid(x)
    shown = ~masked_of(keep, math.prod(grid)).view(1, 1, *grid)
    for axis, times in zip((2, 3, 4), model.patch, strict=True):
        shown = shown.repeat_interleave(times, axis)
    return shown[:, :, 0] if x.ndim == 4 else shown


def _frames(x: Tensor) -> Frames:
    """(1, 3, S, S) or (1, 3, T, S, S) in [0, 1] -> uint8 (T, S, S, 3)."""
    clip = x[0] if x.ndim == 5 else x[0][:, None]
    pixels = clip.permute(1, 2, 3, 0).clamp(0, 1).mul(255).round().to(torch.uint8)
    frames: Frames = pixels.cpu().numpy()
    return frames
