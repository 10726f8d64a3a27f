"""Farbrausch learns to fill holes, on ordinary photos in two dimensions; it then runs along links as it is.

The paper's claim (2008.12298, section 4.3): a network trained this way fills hidden layers, if its convolutions follow
the links. Its training follows partial convolutions (1804.07723), whose perceptual and style terms need a network with
published weights; features of a fixed random network stand in for them here (which are known to describe texture, as
correlations over places: 1606.00021), beside gradients at several scales.

Photos come from a folder, or from packages (`photos.py`).
"""

# B crops, S their side

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor, nn

from kinema.settings import named_preset
from kinema.systems.photo_3d.diffusion import diffused
from kinema.systems.photo_3d.inpainting import Farbrausch, FarbrauschConfig, load_inpainting, save_inpainting
from kinema.systems.photo_3d.layered import lattice_links
from kinema.systems.photo_3d.photos import read_photos
from kinema.train import BatchIndex, Recipe, Stage, seed_everything

PRESETS = {"nano": FarbrauschConfig()}
SIDE = 128  # pixels of a training crop
BAND = (8, 50)  # width of what is grown behind an object, in pixels
HOLE_WEIGHT, GRADIENT_WEIGHT, FEATURE_WEIGHT, TEXTURE_WEIGHT, VARIATION_WEIGHT = 6.0, 1.0, 0.5, 8.0, 0.1
MOST_HOLE = 0.7  # of a crop
VALIDATION = 24  # crops


@dataclass
class HoleBatch:
    """Crops (B, 3, S, S) in [-1, 1], where they are known, and where a colour is wanted: (B, 1, S, S), 1 or 0.

    guess: the crops with what is wanted diffused from what is known. The inside of an object is neither: its hidden
    layer does not reach that far.
    """

    pixels: Tensor
    known: Tensor
    wanted: Tensor
    guess: Tensor


class Holes:
    """Batches of crops with holes. Everything about a sample follows from the seed and its number."""

    def __init__(self, photos: list[np.ndarray], side: int = SIDE) -> None:
        self.photos, self.side = photos, side

    def __call__(self, index: BatchIndex) -> HoleBatch:
        return self.batch(index.indices, index.seed)

    def batch(self, numbers: range, seed: int) -> HoleBatch:
        """The samples with these numbers."""
        crops, knowns, wanteds = [], [], []
        for number in numbers:
            rng = np.random.default_rng((seed, number))
            crops.append(self._crop(rng))
            known, wanted = draw_hole(self.side, rng)
            knowns.append(known)
            wanteds.append(wanted)
        pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()
        masks = [torch.from_numpy(np.stack(each)).float()[:, None] for each in (knowns, wanteds)]
        guess = torch.from_numpy(np.stack([*map(guessed, crops, knowns, wanteds)])).permute(0, 3, 1, 2)
        return HoleBatch(pixels, masks[0], masks[1], guess.contiguous())

    def _crop(self, rng: np.random.Generator) -> np.ndarray:
        """(S, S, 3) float32 in [-1, 1]: any place, scale and exposure, mirrored or not."""
        photo = self.photos[rng.integers(len(self.photos))]
        height, width = photo.shape[:2]
        # Small and large scales alike: the logarithm is what is uniform.
        span = int(self.side * (min(height, width) / self.side) ** rng.uniform())
        top, left = rng.integers(height - span + 1), rng.integers(width - span + 1)
        cut = Image.fromarray(photo[top : top + span, left : left + span])
        crop = np.asarray(cut.resize((self.side, self.side), Image.Resampling.BOX), np.float32) / 127.5 - 1
        if rng.uniform() < 0.5:
            crop = crop[:, ::-1]
        gain = rng.uniform(0.7, 1.2) * rng.uniform(0.9, 1.1, 3)
        return np.clip((crop + 1) * gain - 1, -1, 1).astype(np.float32)


def guessed(crop: np.ndarray, known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The crop (H, W, 3) in [-1, 1] with diffused colours for all but the known, along links of what is there."""
    there = (known | wanted).reshape(-1)
    links = lattice_links(*known.shape)
    links[~there] = -1
    links[~np.append(there, False)[links]] = -1  # the last entry is what -1 finds
    return diffused(crop.reshape(-1, 3) / 2 + 0.5, known.reshape(-1), links).reshape(crop.shape) * 2 - 1


def draw_hole(side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(S, S) bool twice: what is known, and what is wanted.

    Two in three are objects, from small ones to one whose edge cuts the crop in two: known is what they leave free,
    wanted a band behind their contour, as growth makes it. The others are strokes, wanted throughout.
    """
    while True:
        hole, wanted = np.zeros((side, side), np.bool_), np.zeros((side, side), np.bool_)
        for _ in range(1 + rng.integers(3)):
            if rng.uniform() < 2 / 3:
                inside, band = _object(side, rng)
                wanted = (wanted | band) & ~(inside & ~band)
                hole |= inside
            else:
                strokes = _strokes(side, rng)
                wanted |= strokes & ~hole
                hole |= strokes
        if wanted.any() and hole.mean() <= MOST_HOLE:
            return ~hole, wanted


def _object(side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A star-shaped blob and the band inside its contour."""
    radius = side * 0.1 * 10 ** rng.uniform(0.0, 1.0)
    centre = rng.uniform(-0.2, 1.2, 2) * side
    y, x = np.indices((side, side), np.float32)
    dy, dx = (y - centre[0]) * rng.uniform(0.7, 1.4), x - centre[1]
    angle = np.arctan2(dy, dx)
    contour = np.full_like(angle, radius)
    for wave in range(1, 9):
        contour += radius * 0.3 / wave * rng.normal() * np.sin(wave * angle + rng.uniform(0, 2 * math.pi))
    away = np.hypot(dx, dy)
    inside = away < contour
    return inside, inside & (away >= contour - rng.uniform(*BAND))


def _strokes(side: int, rng: np.random.Generator) -> np.ndarray:
    """Random brush strokes."""
    picture = Image.new("1", (side, side))
    draw = ImageDraw.Draw(picture)
    for _ in range(1 + rng.integers(4)):
        points = [tuple(rng.uniform(0, side, 2))]
        for _ in range(1 + rng.integers(5)):
            points.append(tuple(np.asarray(points[-1]) + rng.normal(0, side / 6, 2)))
        draw.line(points, fill=1, width=int(rng.integers(4, side // 6)), joint="curve")
    return np.asarray(picture)


@lru_cache(maxsize=1)
def _random_features() -> nn.Sequential:
    """A fixed network of random orthogonal filters, three scales deep, which tells textures apart a little."""
    source = torch.Generator().manual_seed(0)
    layers: list[nn.Module] = []
    for inner, outer in ((3, 16), (16, 32), (32, 48)):
        conv = nn.Conv2d(inner, outer, 3, stride=2, padding=1, bias=False)
        nn.init.orthogonal_(conv.weight, gain=1.4, generator=source)
        layers += [conv, nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers).requires_grad_(False)


def hole_loss(
    model: nn.Module, batch: HoleBatch, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """L1 where colours are wanted (x 6) and known; gradients, random features, texture and variation of the composite.

    The generator is not needed.
    """
    made = model(batch.known, batch.guess, batch.known + batch.wanted).float()
    truth, wanted = batch.pixels, batch.wanted
    off = (made - truth).abs().mean(1, keepdim=True)
    hole = (off * wanted).sum() / wanted.sum().clamp(min=1.0)
    valid = (off * batch.known).sum() / batch.known.sum().clamp(min=1.0)
    composite = torch.where(wanted > 0, made, truth)
    share = wanted.mean().clamp(
        min=1e-3
    )  # outside of the holes the composite is true: means are per wanted pixel
    gradients = _gradient_difference(composite, truth) / share
    one, two = composite, truth
    features, texture = torch.zeros((), device=made.device), torch.zeros((), device=made.device)
    one, two, where = composite, truth, wanted
    for layer in _random_features().to(made.device):
        one, two = layer(one), layer(two)
        if isinstance(layer, nn.LeakyReLU):
            features = features + (one - two).abs().mean() / share
            where = F.avg_pool2d(where, 2)
            texture = texture + (_correlations(one, where) - _correlations(two, where)).abs().mean()
    variation = sum(
        (x * near).abs().sum() / near.sum().clamp(min=1.0) / 3 for x, near in _steps(composite, wanted)
    )
    total = (
        HOLE_WEIGHT * hole
        + valid
        + GRADIENT_WEIGHT * gradients
        + FEATURE_WEIGHT * features
        + TEXTURE_WEIGHT * texture
        + VARIATION_WEIGHT * variation
    )
    logs = {"hole": hole, "valid": valid, "gradients": gradients, "features": features, "texture": texture}
    return total, {name: value.detach() for name, value in logs.items()}


def _correlations(features: Tensor, where: Tensor) -> Tensor:
    """How channels go together over the places `where` (B, 1, h, w) of features (B, C, h, w): (B, C, C)."""
    weighed = (features * where).flatten(2)
    return weighed @ features.flatten(2).mT / where.sum((1, 2, 3)).clamp(min=1.0)[:, None, None]


def _gradient_difference(one: Tensor, two: Tensor, scales: int = 4) -> Tensor:
    """Mean difference of horizontal and vertical steps at halved sizes."""
    total = torch.zeros((), device=one.device)
    for _ in range(scales):
        apart = one - two
        total = total + apart.diff(dim=3).abs().mean() + apart.diff(dim=2).abs().mean()
        one, two = F.avg_pool2d(one, 2), F.avg_pool2d(two, 2)
    return total / scales


def _steps(picture: Tensor, wanted: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Horizontal and vertical steps of the picture, with 1 where either side is wanted."""
    return [
        (picture.diff(dim=3), torch.maximum(wanted[..., 1:], wanted[..., :-1])),
        (picture.diff(dim=2), torch.maximum(wanted[..., 1:, :], wanted[..., :-1, :])),
    ]


@torch.no_grad()
def measure(model: nn.Module, source: Holes, count: int = VALIDATION, seed: int = 2**31) -> dict[str, float]:
    """Over the wanted pixels of crops from held-out photos, beside diffusion: PSNR, and the share of detail.

    Detail is the mean step between neighbouring pixels, of which the truth has 1.
    """
    found = {"psnr": 0.0, "diffusion_psnr": 0.0}
    steps = torch.zeros(3)  # mean steps of the network's, the diffused and the true colours
    for start in range(0, count, VALIDATION):
        batch = source.batch(range(start, min(start + VALIDATION, count)), seed)
        wanted, there = batch.wanted, batch.known + batch.wanted
        made = model(batch.known, batch.guess, there).clamp(-1, 1)
        for name, picture in (("psnr", made), ("diffusion_psnr", batch.guess)):
            error = ((picture - batch.pixels).square().mean(1, keepdim=True) * wanted).sum((1, 2, 3))
            each = 10 * torch.log10(4 * wanted.sum((1, 2, 3)) / error.clamp(min=1e-6))
            found[name] += float(each.sum()) / count
        for number, picture in enumerate((made, batch.guess, batch.pixels)):
            steps[number] += sum(float((x.abs() * near).sum()) for x, near in _steps(picture, wanted))
    detail = (steps[:2] / steps[2]).tolist()
    return found | {"detail": detail[0], "diffusion_detail": detail[1]}


def hole_stage(
    network: Farbrausch, photos: list[np.ndarray], steps: int = 3000, batch_size: int = 8, lr: float = 5e-4
) -> Stage:
    """The one training stage. Of two photos or more, one in six (the last ones) is kept for validation."""
    held = max(1, len(photos) // 6) if len(photos) > 1 else 0
    training, validation = Holes(photos[: len(photos) - held]), Holes(photos[len(photos) - held :] or photos)
    return Stage(
        name="holes",
        model=network,
        loss=hole_loss,
        batches=training,
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        betas=(0.9, 0.99),
        weight_decay=0.01,
        schedule="cosine",
        precision="fp32",
        warmup_steps=min(100, steps // 2),
        ema_decay=0.995 if steps >= 1000 else 0.0,
        log_every=20,
        checkpoint_every=500,
        validate=lambda model, folder: measure(model, validation),
        validate_every=500,
    )


def recipe(preset: str = "nano", data: Path | None = None, seed: int = 0, init: Path | None = None) -> Recipe:
    """The stage of a run and what becomes of it. With `init` it starts from given weights.

    data: a folder of photos; None takes those that ship in packages.
    """
    seed_everything(seed)
    network = (
        Farbrausch(named_preset(PRESETS, preset, "Farbrausch")) if init is None else load_inpainting(init)
    )
    stages = [hole_stage(network.train().requires_grad_(True), read_photos(data, SIDE))]
    return Recipe(stages=stages, finish=lambda folder: _save(network, folder))


def _save(network: Farbrausch, folder: Path) -> Path:
    path = folder / "inpainting.safetensors"
    save_inpainting(network.eval(), path)
    return path
