"""Movie Gen's spatial upsampler at nano size: 64 to 128 pixels on the Small World (2410.13720, spatial upsampler).

The paper's claim: a clip's details can be left to a second model that gets the small clip as a condition, if that model
is trained on clips spoilt as the first model's are: second-order degradation, and the autoencoder's artefacts.

    kinema train movie-gen-upsampler --out runs/upsampler
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from kinema.codecs.losses import l1, perceptual
from kinema.errors import UserError
from kinema.flow.objective import flow_matching_loss
from kinema.flow.schedules import linear
from kinema.flow.solvers import euler
from kinema.flow.times import logit_normal
from kinema.systems.movie_gen import video as video_room
from kinema.systems.movie_gen.upsampler.artefacts import Artefacts, through_codec
from kinema.systems.movie_gen.upsampler.degradation import Degradation
from kinema.systems.movie_gen.upsampler.finish import Finish
from kinema.systems.movie_gen.upsampler.frames import FrameCodec, fitted
from kinema.systems.movie_gen.upsampler.model import Upsampler, preset
from kinema.systems.movie_gen.upsampler.parts import UpsamplerParts, load_parts, save_parts
from kinema.systems.movie_gen.video.parts import load_parts as load_video_parts
from kinema.systems.movie_gen.video.tags import training_texts
from kinema.train import BatchIndex, Recipe, Stage, make_generator, seed_everything
from kinema.world.batches import WorldClips
from kinema.world.scene import WorldSpec

VIDEO_WEIGHTS = Path(video_room.__file__).with_name("nano.safetensors")  # whose clips it learns to enlarge
LOW, HIGH = 64, 128
GRADIENT_WEIGHT = 0.3
POOL = 512  # scenes of the world that training goes round; each is rendered once a run
CROPS = 4  # windows that are cut from a spoilt clip
ODDS = {"clean": 0.25, "wild": 0.2, "codec": 0.15, "generated": 0.4}  # kinds of condition
WORLD = WorldSpec(
    vocabulary="nano",
    actor_odds=(0.86, 0.12, 0.02),
    static_camera=0.6,
    appealing=0.25,
    fps=(8.0, 8.0, 8.0, 12.0),
)


@dataclass
class Batch:
    """Latents of windows and of their conditions, both (B, C, T, h, w), and the pixels of both, (B, 3, T, H, W)."""

    latent: Tensor
    condition: Tensor
    pixels: Tensor
    enlarged: Tensor


def enlarged(pixels: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, frame by frame: (B, 3, T, h, w) -> (B, 3, T, height, width). What the model gets of a small clip."""
    frames = pixels.transpose(1, 2).flatten(0, 1)
    larger = F.interpolate(frames, (height, width), mode="bilinear", align_corners=False)
    return larger.unflatten(0, (len(pixels), -1)).transpose(1, 2)


class UpsamplerSource:
    """Windows of true clips beside what is left of them in a small spoilt clip.

    Everything about a sample follows from its number: sample i is a window of clip i // CROPS, which shows scene
    (i // CROPS) % pool, spoilt in a way of its own.
    """

    def __init__(
        self, codec: FrameCodec, upsampler: Upsampler, artefacts: Artefacts, pool: int = POOL
    ) -> None:
        self.codec, self.window, self.artefacts, self.pool = codec, upsampler.config.window, artefacts, pool
        self.small, self.large = WorldClips(spec=WORLD), WorldClips(spec=WORLD, height=HIGH, width=HIGH)
        self.wild = Degradation.mild()
        self._rendered = lru_cache(maxsize=pool)(self._render)

    @torch.no_grad()
    def __call__(self, index: BatchIndex) -> Batch:
        windows: list[tuple[Tensor, ...]] = []
        numbers = list(index.indices)
        for clip in sorted({i // CROPS for i in numbers}):
            truth, spoilt = self.clips(clip, index.seed)
            latent, condition = self.codec.encode(truth), self.codec.encode(spoilt)
            for i in (i for i in numbers if i // CROPS == clip):
                place = make_generator(index.seed, "window", i)
                cut = [
                    int(torch.randint(size - min(size, span) + 1, (), generator=place))
                    for size, span in zip(latent.shape[2:], self.window, strict=True)
                ]
                cells = [_window(x, cut, self.window) for x in (latent, condition)]
                strides = self.codec.spec.strides
                place_in, span_in = (
                    [n * s for n, s in zip(x, strides, strict=True)] for x in (cut, self.window)
                )
                windows.append((*cells, *(_window(x, place_in, span_in) for x in (truth, spoilt))))
        return Batch(*(torch.cat(column) for column in zip(*windows, strict=True)))

    def clips(self, clip: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """A whole clip and its enlarged, spoilt self: (1, 3, T, HIGH, HIGH) each."""
        large, low = self.pair(clip, seed)
        return large, enlarged(low, HIGH, HIGH)

    @torch.no_grad()
    def pair(self, clip: int, seed: int = 0, kind: str | None = None) -> tuple[Tensor, Tensor]:
        """A true clip (1, 3, T, HIGH, HIGH) and a small one made from it, in [-1, 1]."""
        scene = clip % self.pool
        low, large = (x.float().div(127.5).sub(1) for x in self._rendered(scene))
        draw = make_generator(seed, "degrade", clip)
        drawn = list(ODDS)[int(torch.multinomial(torch.tensor(list(ODDS.values())), 1, generator=draw))]
        return large, self.spoilt(low, large, scene, kind or drawn, draw)

    def spoilt(self, low: Tensor, large: Tensor, scene: int, kind: str, draw: Generator) -> Tensor:
        """A small clip as one of the four kinds leaves it."""
        codec = self.artefacts.parts.codec

        def between(least: float, most: float) -> float:
            return least + (most - least) * float(torch.rand((), generator=draw))

        if kind == "clean":  # rendered small, or made small from the large one
            return low if between(0, 1) < 0.6 else F.avg_pool3d(large, (1, HIGH // LOW, HIGH // LOW))
        if kind == "wild":
            size = LOW if between(0, 1) < 0.6 else 8 * int(between(6, 11))
            spoilt = self.wild(large, (size, size), draw)
            return through_codec(codec, spoilt, 0.0, draw) if between(0, 1) < 0.3 else spoilt
        if kind == "codec":
            return through_codec(codec, low, max(0.0, between(-0.05, 0.15)), draw)
        texts = training_texts(self.small.scenes([scene]), [scene])
        steps, scale = 2 + int(between(0, 3)), 1.0 if between(0, 1) < 0.5 else between(1.0, 2.5)
        return self.artefacts.regenerated(low, texts, between(0.3, 0.8), steps, scale, draw)

    def _render(self, scene: int) -> tuple[Tensor, Tensor]:
        clips = (self.small.pixels([scene]), self.large.pixels([scene]))
        low, large = (x.add(1).mul(127.5).round().to(torch.uint8) for x in clips)
        return low, large


def upsampler_loss(model: nn.Module, batch: Batch, generator: Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """Flow matching on the latent, or its distance from the condition, beside the condition."""
    assert isinstance(model, Upsampler)
    sample = model.sample_of(batch.latent, batch.condition)
    value, logs = flow_matching_loss(
        lambda x, t: model(x, t, batch.condition), sample, generator, logit_normal
    )
    return value, {"velocity_rms": logs["velocity_rms"]}


def finish_loss(
    parts: UpsamplerParts,
) -> Callable[[nn.Module, Batch, Generator], tuple[Tensor, dict[str, Tensor]]]:
    """Reconstruction (squared, absolute, gradients) from what the sampler makes in 1 to 4 steps; it stands still."""

    def loss(model: nn.Module, batch: Batch, generator: Generator) -> tuple[Tensor, dict[str, Tensor]]:
        steps = int(torch.randint(1, 5, (), generator=generator, device=generator.device))
        noise = torch.randn(batch.latent.shape, generator=generator, device=generator.device)
        with torch.no_grad():
            sample = euler(lambda x, t: parts.upsampler(x, t, batch.condition), noise, linear(steps))
            decoded = parts.codec.decode(parts.upsampler.latent_of(sample, batch.condition))
        made = model(decoded, batch.enlarged)
        squared = (made - batch.pixels).square().mean()
        gradient = perceptual(made, batch.pixels)
        value = 4 * squared + l1(made, batch.pixels) + GRADIENT_WEIGHT * gradient
        before = (decoded - batch.pixels).square().mean()
        return value, {"squared": squared, "squared_before": before, "gradient": gradient}

    return loss


def new_parts(size: str = "nano") -> UpsamplerParts:
    """A codec at its principal components, and an untrained transformer."""
    config = preset(size)
    if config.transformer.latent_channels != FrameCodec().channels or config.transformer.text_dims:
        raise UserError(
            f"the recipe trains nano on the Small World, and the preset {size!r} needs the paper's image autoencoder, "
            "text towers and data: build it with `preset` and train it with `upsampler_loss` on clips of yours"
        )
    start = 10_000_000  # far from what training will see
    frames = WorldClips(spec=WORLD, num_frames=1, height=HIGH, width=HIGH)
    codec = fitted([frames.pixels(range(start + k, start + k + 32)) for k in range(0, 256, 32)])
    return UpsamplerParts(codec, Upsampler(config), Finish())


def upsampler_stage(parts: UpsamplerParts, source: UpsamplerSource, steps: int = 2000) -> Stage:
    """Flow matching, beside the condition."""
    return Stage(
        name="upsampler",
        model=parts.upsampler,
        loss=upsampler_loss,
        batches=source,
        steps=steps,
        batch_size=8,
        optimizer="muon",
        lr=2e-3,
        betas=(0.9, 0.95),
        weight_decay=0.01,
        schedule="wsd",
        warmup_steps=100,
        decay_fraction=0.2,
        ema_decay=0.99,
        log_every=25,
        checkpoint_every=100,
        compile=True,
    )


def finish_stage(parts: UpsamplerParts, source: UpsamplerSource, steps: int = 200) -> Stage:
    """The last layers of decoding, on samples of the finished transformer."""

    def freeze(model: nn.Module) -> None:
        parts.upsampler.eval().requires_grad_(False)

    return Stage(
        name="finish",
        model=parts.finish,
        loss=finish_loss(parts),
        batches=source,
        steps=steps,
        batch_size=4,
        lr=3e-3,
        betas=(0.9, 0.99),
        schedule="cosine",
        warmup_steps=10,
        prepare=freeze,
        log_every=20,
        checkpoint_every=50,
    )


def recipe(preset: str = "nano", data: Path | None = None, seed: int = 0, init: Path | None = None) -> Recipe:
    """The stages of a run and what becomes of them. With `init` it starts from given weights.

    The conditions come from the text-to-video nano inside the package.
    """
    if data is not None:
        raise UserError("the upsampler's recipe learns from the Small World alone: leave out --data")
    seed_everything(seed)
    parts = new_parts(preset) if init is None else load_parts(init)
    source = UpsamplerSource(parts.codec, parts.upsampler, Artefacts.of(load_video_parts(VIDEO_WEIGHTS)))
    if init is None:
        measure(parts, source)
    stages = [upsampler_stage(parts, source), finish_stage(parts, source)]
    return Recipe(stages=stages, finish=lambda folder: _save(parts, folder))


def measure(parts: UpsamplerParts, source: UpsamplerSource, count: int = 24) -> None:
    """Set the sample's unit from the first clips of training."""
    pairs = [source.clips(clip) for clip in range(count)]
    latents, conditions = (
        torch.cat([parts.codec.encode(x) for x in side]) for side in zip(*pairs, strict=True)
    )
    reach = parts.codec.linear.synthesis.weight.norm(dim=0) * parts.codec.spec.std
    parts.upsampler.measure(latents, conditions, reach)


def _window(latent: Tensor, start: Sequence[int], window: Sequence[int]) -> Tensor:
    for axis, (first, span) in enumerate(zip(start, window, strict=True), start=2):
        latent = latent.narrow(axis, first, min(span, latent.shape[axis]))
    return latent


def _save(parts: UpsamplerParts, folder: Path) -> Path:
    path = folder / "model.safetensors"
    save_parts(parts, path)
    return path
