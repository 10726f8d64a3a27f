"""Clips of the Small World with their sound as training data: latents, frame features and captions.

Codec and frame encoder stand still while the transformer trains, so what they make of a clip is computed once. Clips
come in blocks that are always computed together: the numbers are the same in whatever order a run meets them.
"""

# B batch, C latent channels, N latent frames, F frame feature width

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from kinema.systems.movie_gen.audio.captions import training_text
from kinema.systems.movie_gen.audio.sampling import SoundCodec
from kinema.systems.movie_gen.audio.visual import FrameEncoder, latent_length, on_grid
from kinema.train import BatchIndex
from kinema.train.cache import FeatureCache, fingerprint
from kinema.train.seeds import make_generator
from kinema.world.renderer import render
from kinema.world.scene import Scene, WorldSpec, sample_scene
from kinema.world.sound.mix import render_sound

BLOCK = 8  # clips that are rendered and encoded together
RATES = (8.0, 12.0, 16.0, 25.0)  # frames a second; a block has one
NOISE = (4.0, 12.0)  # dB that a damaged copy's sound is louder than its noise
DULLEST = 3000.0  # Hz, the lowest frequency above which a damaged copy may have lost everything
SPEC = WorldSpec(vocabulary="nano", actor_odds=(0.86, 0.12, 0.02), static_camera=0.6, appealing=0.25)


@dataclass
class SoundBatch:
    """Latents (B, C, N), frame features (B, N, F), where there are any (B, N) bool, and captions."""

    latent: Tensor
    visual: Tensor
    seen: Tensor
    texts: list[str]


def damaged(sound: Tensor, scene: Scene, rate: int) -> Tensor:
    """A bad copy of a scene's sound (1, samples): dull and noisy, by an amount that its seed draws."""
    generator = make_generator(scene.seed, "damaged")
    level, colour, cut = torch.rand(3, generator=generator).tolist()
    samples = sound.shape[-1]
    hertz = torch.fft.rfftfreq(samples, 1 / rate)
    spectrum = torch.fft.rfft(torch.randn(samples, generator=generator))
    noise = torch.fft.irfft(spectrum * (hertz.clamp(min=50.0) / 1000) ** (-colour), samples)
    edge = DULLEST * 3**cut
    dull = torch.fft.irfft(torch.fft.rfft(sound) / (1 + (hertz / edge) ** 8).sqrt(), samples)
    low, high = NOISE
    loudness = dull.square().mean().sqrt().clamp(min=1e-4) * 10 ** (-(low + (high - low) * level) / 20)
    return (dull + noise * (loudness / noise.square().mean().sqrt().clamp(min=1e-9))).clamp(-1.0, 1.0)


@lru_cache(maxsize=64)
def block_order(count: int, turn: int, seed: int) -> tuple[int, ...]:
    """In which order the blocks come in the `turn`-th round; the first is in order."""
    if turn == 0:
        return tuple(range(count))
    return tuple(torch.randperm(count, generator=make_generator(seed, "blocks", turn)).tolist())


class WorldSounds:
    """Batches of clips with sound, a pure function of the sample numbers.

    Args:
        seconds: length of the clips.
        scenes: how many there are before they come again (in another order, with other words).
        noisy: one clip in so many is a damaged copy, labelled as one; 0: none.
        first: number of the first scene.
        silent_every: every so many steps a batch comes without frames, sound and words alone; 0: never.
        frame_age: as in the transformer's settings.
        folder: where what the networks made is kept for other runs, and for processes beside this one.
    """

    def __init__(
        self,
        codec: SoundCodec,
        frames: FrameEncoder,
        spec: WorldSpec = SPEC,
        *,
        seconds: float = 2.0,
        scenes: int = 12_000,
        noisy: int = 4,
        first: int = 0,
        split: str = "train",
        silent_every: int = 0,
        memory_bytes: int = 1 << 30,
        folder: Path | None = None,
        frame_age: bool = False,
    ) -> None:
        self.codec, self.frames = codec, frames
        self.spec, self.seconds = replace(spec, duration=seconds), seconds
        self.blocks, self.noisy, self.first, self.split = max(scenes // BLOCK, 1), noisy, first, split
        self.silent_every, self.memory_bytes, self.folder = silent_every, memory_bytes, folder
        self.frame_age = frame_age
        self._cache: FeatureCache | None = None

    def __call__(self, index: BatchIndex) -> SoundBatch:
        """The batch of this place in the run."""
        batch = self.batch(index.indices, index.seed)
        if self.silent_every and index.step % self.silent_every == self.silent_every - 1:
            batch.seen = torch.zeros_like(batch.seen)
        return batch

    def batch(self, numbers: Sequence[int], seed: int = 0) -> SoundBatch:
        """The samples with these numbers."""
        size = self.blocks * BLOCK
        places = []  # block, row, round
        for number in numbers:
            turn, at = divmod(number, size)
            places.append((block_order(self.blocks, turn, seed)[at // BLOCK], at % BLOCK, turn))
        wanted = sorted({block for block, _, _ in places})
        found = self._features(wanted)
        rows = [wanted.index(block) * BLOCK + row for block, row, _ in places]
        picked = {name: part.flatten(0, 1)[rows] for name, part in found.items()}
        texts = []
        for block, row, turn in places:
            number = self.first + block * BLOCK + row
            texts.append(training_text(self.scene(number), number + turn * (size + 1), self.is_noisy(number)))
        return SoundBatch(picked["latent"].float(), picked["visual"].float(), picked["seen"], texts)

    def scene(self, number: int) -> Scene:
        """The scene of this number."""
        return sample_scene(self.split, number, self.spec)

    def is_noisy(self, number: int) -> bool:
        """Whether this scene comes as a damaged copy."""
        return self.noisy > 0 and number % self.noisy == self.noisy - 1

    def _features(self, blocks: Sequence[int]) -> dict[str, Tensor]:
        """Latents, frame features and where they are, of whole blocks: (blocks, BLOCK, ...)."""
        if self._cache is None:  # the networks stand still from the first batch on
            clips = {"spec": asdict(self.spec), "noisy": self.noisy, "age": self.frame_age}
            networks = [part for part in (self.codec, self.frames) if isinstance(part, nn.Module)]
            name = "-".join(fingerprint(part, **clips) for part in networks)
            # What has no weights to be told apart by is not mixed up with another's on disk.
            folder = self.folder if len(networks) == 2 else None
            self._cache = FeatureCache(name, folder=folder, memory_bytes=self.memory_bytes)
        keys = [(self.split, self.first, block) for block in blocks]
        found: dict[str, Tensor] = self._cache.lookup(
            keys, lambda rows: self._made([blocks[i] for i in rows])
        )
        return found

    @torch.no_grad()
    def _made(self, blocks: Sequence[int]) -> dict[str, Tensor]:
        """Render and encode blocks, one by one."""
        rate, parts = self.codec.config.rate, list[tuple[Tensor, Tensor, Tensor]]()
        device = _device(self.codec)
        for block in blocks:
            numbers = [self.first + block * BLOCK + row for row in range(BLOCK)]
            scenes = [self.scene(number) for number in numbers]
            fps = RATES[block % len(RATES)]
            sound = render_sound(scenes, rate)
            for row, number in enumerate(numbers):
                if self.is_noisy(number):
                    sound[row] = damaged(sound[row], scenes[row], rate)
            latent = self.codec.encode(sound.to(device)).cpu()
            length = latent.shape[2]
            clips = render(scenes, latent_length(self.seconds, fps), fps=fps).permute(0, 2, 3, 4, 1)
            grids = [
                on_grid(self.frames.encode(clip, fps).cpu(), fps, length, self.frame_rate, self.frame_age)
                for clip in clips
            ]
            visual, seen = (torch.stack([grid[i] for grid in grids]) for i in range(2))
            parts.append((latent.half(), visual.half(), seen))
        return {
            name: torch.stack([part[i] for part in parts])
            for i, name in enumerate(("latent", "visual", "seen"))
        }

    @property
    def frame_rate(self) -> float:
        """Latent frames a second."""
        return float(self.codec.config.rate / self.codec.config.hop)


def _device(codec: SoundCodec) -> torch.device:
    """Where the codec computes."""
    if isinstance(codec, nn.Module):
        for tensor in (*codec.parameters(), *codec.buffers()):
            return tensor.device
    return torch.device("cpu")


class TwoLengths:
    """Short clips, and every so many steps half as many long ones (the paper: 10 s and 30 s at 5 : 1)."""

    def __init__(self, short: WorldSounds, long: WorldSounds, long_every: int = 6) -> None:
        self.short, self.long, self.long_every = short, long, long_every

    def __call__(self, index: BatchIndex) -> SoundBatch:
        """The batch of this place in the run."""
        if index.step % self.long_every != self.long_every - 1:
            return self.short(index)
        half = range(index.indices.start // 2, index.indices.start // 2 + max(len(index.indices) // 2, 1))
        return self.long(replace(index, indices=half))
