"""The flow-matching loss on clips that training never sees: the proxy by which the paper develops and drops the rate.

Noise and times are fixed, so two values differ by the weights alone: between steps, runs and processes.
"""

# B clips, C latent channels, t h w latent frames, rows, columns

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from kinema.data import ClipBatches, MediaDataset
from kinema.errors import UserError
from kinema.flow.paths import interpolate, velocity_target
from kinema.systems.movie_gen.video.parts import Parts
from kinema.systems.movie_gen.video.tags import tagged, training_texts
from kinema.text.states import TextStates
from kinema.train import per_sample_randn
from kinema.world.batches import WorldClips

Clips = tuple[Tensor, Sequence[str]]  # float32 (B, 3, T, H, W) in [-1, 1], and tagged captions
METRIC = "fm_loss"


def fixed_times(count: int) -> Tensor:
    """Midpoints of `count` equal shares of the logit-normal law, shuffled once for all: float32 (count,)."""
    shares = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return torch.sigmoid(torch.special.ndtri(shares))[order].float()


class HeldOutLoss:
    """A stage's `validate`: {"fm_loss": the mean over clips}; latents and texts are encoded once, at the first call.

    Args:
        parts: whose codec and text encoder stand still; the transformer is the one that comes with the call.
        load: gives the clips.
        chunk: clips that go through the network together.
    """

    def __init__(self, parts: Parts, load: Callable[[], Clips], chunk: int = 16) -> None:
        self.parts, self.load, self.chunk = parts, load, chunk
        self._ready: tuple[Tensor, tuple[TextStates, ...]] | None = None

    @torch.no_grad()
    def __call__(self, model: nn.Module, folder: Path | None = None) -> dict[str, float]:
        """The loss of `model`; `folder` is what a stage hands over, and stays empty."""
        latents, states = self._encoded()
        device = next(model.parameters()).device
        times = fixed_times(len(latents))
        total = 0.0
        for start in range(0, len(latents), self.chunk):
            part = slice(start, start + self.chunk)
            clean, t = latents[part], times[part]
            noise = per_sample_randn(range(start, start + len(clean)), clean.shape[1:], "held-out loss")
            text = [TextStates(told.embeds[part], told.mask[part]).to(device) for told in states]
            predicted = model(interpolate(noise, clean, t).to(device), t.to(device), text).float().cpu()
            total += float((predicted - velocity_target(noise, clean)).square().flatten(1).mean(1).sum())
        return {METRIC: total / len(latents)}

    def _encoded(self) -> tuple[Tensor, tuple[TextStates, ...]]:
        if self._ready is None:
            pixels, texts = self.load()
            if not len(pixels):
                raise UserError("the held-out set has no clips: give at least one")
            device = next(self.parts.codec.parameters()).device
            with torch.autocast(device.type, enabled=False):  # what is measured is the transformer
                latents = [
                    self.parts.codec.encode(part.to(device)).cpu() for part in pixels.split(self.chunk)
                ]
                states = self.parts.read(list(texts), one_length=True)
            self._ready = torch.cat(latents).float(), tuple(told.to("cpu") for told in states)
        return self._ready


def world_clips(clips: WorldClips, count: int = 64) -> Callable[[], Clips]:
    """The first `count` clips of a world whose split training does not draw from."""
    if clips.split == "train":
        raise UserError("the held-out loss wants unseen clips: take WorldClips(split='val', ...)")

    def load() -> Clips:
        numbers = range(count)
        return clips.pixels(numbers), training_texts(clips.scenes(numbers), numbers)

    return load


def folder_clips(
    dataset: MediaDataset, *, num_frames: int, height: int, width: int, fps: float = 8.0, count: int = 64
) -> Callable[[], Clips]:
    """The first `count` clips of a held-out data set (`MediaDataset.split("heldout")`)."""

    def load() -> Clips:
        batches = ClipBatches(
            dataset, num_frames=num_frames, height=height, width=width, fps=fps, shuffle=False
        )
        found = batches(range(min(count, len(dataset))))
        return found.video, [tagged(text, fps) for text in found.captions]

    return load
