"""Colour for hidden surfaces: Farbrausch, a U-Net of partial convolutions, and diffusion, which needs no weights.

The network learns on ordinary photos and runs on layered images with the same weights (2008.12298, section 4.3). The
paper's searched widths are not known: these are ours. So is its start from diffused colours: diffusion meets every
rim exactly, and the network, which sees it, adds what it lacks.
"""

# B pictures, K pixels of a layered image, L levels

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.systems.photo_3d.diffusion import diffused
from kinema.systems.photo_3d.layered import LayeredImage, subset
from kinema.systems.photo_3d.partial_conv import Level, Masked, PartialConv, pyramid, windows
from kinema.train.log import logger
from kinema.weights import check_schema, fill_networks, read_weights, save_networks

WEIGHTS = Path(__file__).with_name("inpainting.safetensors")
METADATA_KEY = "kinema.photo_3d.inpainting"
SCHEMA = 1
RIM = 4  # links from what is unknown within which known colours are no source


@dataclass(frozen=True, kw_only=True)
class FarbrauschConfig:
    """Widths and kernels of the down-sampling stages; the decoder mirrors them."""

    widths: tuple[int, ...] = (24, 32, 48, 64, 64)
    kernels: tuple[int, ...] = (5, 3, 3, 3, 3)

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.kernels) or not self.widths:
            raise ValueError(f"widths {self.widths} and kernels {self.kernels} must be as many, at least one")


class Stage(nn.Module):
    """Partial convolution, normalisation (not in the first), rectifier."""

    def __init__(self, conv: PartialConv, norm: bool, slope: float) -> None:
        super().__init__()
        self.conv, self.slope = conv, slope
        self.norm = nn.BatchNorm2d(len(conv.bias)) if norm else None

    def finish(self, x: Tensor) -> Tensor:
        """What follows the convolution, for (B, C, H, W) and, in eval mode, (K, C)."""
        if self.norm is not None:
            norm = self.norm
            x = (
                norm(x)
                if x.ndim == 4
                else F.batch_norm(
                    x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
                )
            )
        return F.leaky_relu(x, self.slope)


class Farbrausch(nn.Module):
    """The inpainting U-Net. Skips join by concatenation, of features and of masks.

    It sees the known colours beside a first guess at all of them, to which what it makes is added.
    """

    def __init__(self, config: FarbrauschConfig = FarbrauschConfig()) -> None:
        super().__init__()
        self.config = config
        widths = (6, *config.widths)
        self.encoder = nn.ModuleList(
            Stage(PartialConv(widths[i], widths[i + 1], config.kernels[i], stride=2), norm=i > 0, slope=0.0)
            for i in range(len(config.widths))
        )
        outs = (config.widths[0], *config.widths[:-1])  # of the decoder, by level
        self.decoder = nn.ModuleList(
            Stage(
                PartialConv((widths[-1] if i == len(outs) - 1 else outs[i + 1]) + widths[i], outs[i], 3),
                True,
                0.2,
            )
            for i in range(len(outs))
        )
        self.head = PartialConv(outs[0], 3, 3)
        self.init_weights()

    def init_weights(self) -> None:
        """Start over: as `PartialConv` and batch normalisation do, but near the first guess."""
        for module in self.modules():
            if isinstance(module, PartialConv):
                module.init_weights()
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
        with torch.no_grad():
            self.head.weight.mul_(0.1)

    @staticmethod
    def stages(side: nn.ModuleList) -> list[Stage]:
        """The stages of the encoder or the decoder, the finest first."""
        return [stage for stage in side if isinstance(stage, Stage)]

    def forward(self, known: Tensor, guess: Tensor, there: Tensor) -> Tensor:
        """Where colours are known (B, 1, H, W) and a guess (B, 3, H, W) in [-1, 1], true there -> colours (B, 3, H, W).

        there (B, 1, H, W): where the surface has a pixel at all; nothing else is looked at.
        """
        skips: list[list[Masked]] = [[(guess, known), (guess, there)]]
        for stage in self.stages(self.encoder):
            x, mask = stage.conv(skips[-1])
            skips.append([(stage.finish(x), mask)])
        ((x, mask),) = skips.pop()
        for stage in reversed(self.stages(self.decoder)):
            height, width = skips[-1][0][0].shape[2:]
            up = (_doubled(x)[..., :height, :width], _doubled(mask)[..., :height, :width])
            x, mask = stage.conv([up, *skips.pop()])
            x = stage.finish(x)
        return guess + self.head([(x, mask)])[0]

    @torch.no_grad()
    def along_links(self, known: Tensor, guess: Tensor, levels: list[Level], wanted: np.ndarray) -> Tensor:
        """The same on a layered image, for the pixels `wanted` alone: (R, 3).

        known (K,), guess (K, 3), levels from `pyramid`. At each level only what the wanted pixels depend on
        is computed, which changes nothing of the result. In eval mode only: there are no batches to normalise over.
        """
        if self.training:
            raise ValueError("the network runs along links in eval mode only: call eval() first")
        plan = _Plan.make(levels, wanted, self.config.kernels)
        skips: list[list[Masked]] = [[(guess, known), (guess, torch.ones_like(known))]]
        for number, stage in enumerate(self.stages(self.encoder)):
            x, mask = stage.conv.along_links(skips[-1], plan.encoder_windows[number])
            rows = plan.encoder_rows[number]
            skips.append([_placed(stage.finish(x), mask, rows, len(levels[number + 1]))])
        ((x, mask),) = skips.pop()
        for number, stage in reversed(list(enumerate(self.stages(self.decoder)))):
            parent = torch.from_numpy(levels[number].parent)
            # One row more, unknown, is the parent of those that have none.
            up = (
                torch.cat([x, x.new_zeros(1, x.shape[1])])[parent],
                torch.cat([mask, mask.new_zeros(1)])[parent],
            )
            y, seen = stage.conv.along_links([up, *skips.pop()], plan.decoder_windows[number])
            x, mask = _placed(stage.finish(y), seen, plan.decoder_rows[number], len(levels[number]))
        return guess[torch.from_numpy(wanted)] + self.head.along_links([(x, mask)], plan.head_windows)[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Plan:
    """Which pixels each layer computes, and their windows."""

    encoder_rows: list[Tensor]  # of level 1 ... L
    encoder_windows: list[Tensor]  # into level 0 ... L-1
    decoder_rows: list[Tensor]  # of level 0 ... L-1
    decoder_windows: list[Tensor]
    head_windows: Tensor

    @classmethod
    def make(cls, levels: list[Level], wanted: np.ndarray, kernels: tuple[int, ...]) -> _Plan:
        head = windows(levels[0].links, wanted, 3)
        needed = [
            np.zeros(len(level) + 1, np.bool_) for level in levels
        ]  # of the encoder; the last for "nothing"
        rows = _marked(head, len(levels[0]))
        decoder_rows, decoder_windows = [], []
        for number, level in enumerate(levels[:-1]):
            table = windows(level.links, rows, 3)
            decoder_rows.append(rows)
            decoder_windows.append(table)
            inputs = _marked(table, len(level))
            needed[number][inputs] = True
            rows = _marked(level.parent[inputs], len(levels[number + 1]))
        needed[-1][rows] = True
        encoder_rows, encoder_windows = [], []
        for number in reversed(range(len(levels) - 1)):
            rows = np.flatnonzero(needed[number + 1][:-1])
            table = windows(levels[number].links, levels[number].kept[rows], kernels[number])
            needed[number][table.reshape(-1)] = True
            encoder_rows.append(rows)
            encoder_windows.append(table)
        return cls(
            encoder_rows=[torch.from_numpy(a) for a in reversed(encoder_rows)],
            encoder_windows=[torch.from_numpy(a) for a in reversed(encoder_windows)],
            decoder_rows=[torch.from_numpy(a) for a in decoder_rows],
            decoder_windows=[torch.from_numpy(a) for a in decoder_windows],
            head_windows=torch.from_numpy(head),
        )


def fill(
    image: LayeredImage,
    method: Literal["network", "diffusion"] = "diffusion",
    network: Farbrausch | None = None,
    context: int = 64,
    rim: int = RIM,
) -> LayeredImage:
    """The same pixels with colours where they were unknown; what is known stays as it was.

    network: what the method `network` runs; None takes the weights inside the package, and diffusion while there are
    none. context: links by which the network's view reaches beyond the unknown pixels; what lies further is not looked
    at. rim: links from an unknown pixel within which known colours are not looked at either: next to a depth edge a
    photo's pixels are blends with the foreground.
    """
    if method not in ("network", "diffusion"):
        raise UserError(f"there is no way to fill called {method!r}: choose network or diffusion")
    unknown = np.flatnonzero(~image.known)
    if len(unknown) == 0:
        return image
    source = _sources(image, unknown, rim)
    colour = diffused(image.colour, source, image.neighbours)
    if method == "network" and network is None:
        if WEIGHTS.is_file():
            network = _shipped()
        else:
            logger.warning("there are no weights for inpainting in this kinema: colours are diffused instead")
    if method == "network" and network is not None:
        near = _surroundings(image.neighbours, unknown, context)
        old, links = subset(image.neighbours, near)
        levels = pyramid(image.x[old], image.y[old], links, len(network.config.widths))
        wanted = np.flatnonzero(~image.known[old])
        guess = torch.from_numpy(colour[old]) * 2 - 1
        given = torch.from_numpy(source[old]).to(guess.dtype)
        made = network.along_links(given, guess, levels, wanted)
        colour[old[wanted]] = ((made.numpy() + 1) / 2).clip(0.0, 1.0)
    colour[image.known] = image.colour[image.known]
    return dataclasses.replace(image, colour=colour)


def save_inpainting(network: Farbrausch, path: str | Path) -> None:
    """Write the network with its settings into one safetensors file, as 16-bit numbers."""
    settings = {"schema": SCHEMA, "config": dataclasses.asdict(network.config)}
    save_networks({"farbrausch": network}, path, METADATA_KEY, settings, torch.float16)


def load_inpainting(path: str | Path) -> Farbrausch:
    """Read what `save_inpainting` wrote, ready to use. Raises UserError for a file that is anything else."""
    state, metadata = read_weights(path)
    try:
        settings: dict[str, Any] = json.loads(metadata[METADATA_KEY])
        check_schema(settings, SCHEMA, path)
        config = {name: tuple(values) for name, values in settings["config"].items()}
        network = Farbrausch(FarbrauschConfig(**config))
    except UserError:
        raise
    except (KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise UserError(
            f"'{Path(path).name}' is no inpainting network of kinema, or its description is damaged: take a file that "
            "its recipe wrote"
        ) from error
    fill_networks({"farbrausch": network}, state, path)
    return network.eval().requires_grad_(False)


def load(path: Path | None, device: str = "cpu") -> Farbrausch:
    """What `kinema.load` calls: `load_inpainting`, on a device."""
    if path is None:
        raise UserError("the inpainting network needs weights: give a file with --weights FILE")
    return load_inpainting(path).to(device)


@lru_cache(maxsize=1)
def _shipped() -> Farbrausch:
    return load_inpainting(WEIGHTS)


def _sources(image: LayeredImage, unknown: np.ndarray, rim: int) -> np.ndarray:
    """Which known pixels (K,) bool give their colour to others: none within the rim, unless there is nothing else."""
    source = image.known & ~_surroundings(image.neighbours, unknown, rim)
    reached = _surroundings(image.neighbours, np.flatnonzero(source), len(image))
    return source | (image.known & ~reached)


def _surroundings(links: np.ndarray, start: np.ndarray, steps: int) -> np.ndarray:
    """Which pixels (K,) bool lie within `steps` links of the pixels `start`."""
    near = np.zeros(len(links) + 1, np.bool_)
    near[start] = near[-1] = True  # the last entry is what -1 finds
    turn = np.zeros(len(links), np.int64)
    for _ in range(steps):
        found = links[start].reshape(-1)
        found = found[~near[found]]
        turn[found] = np.arange(len(found))
        start = found[turn[found] == np.arange(len(found))]  # each once
        if len(start) == 0:
            break
        near[start] = True
    return near[:-1]


def _marked(numbers: np.ndarray, count: int) -> np.ndarray:
    """The different numbers below `count`, ascending."""
    marks = np.zeros(count + 1, np.bool_)
    marks[numbers.reshape(-1)] = True
    return np.flatnonzero(marks[:-1])


def _placed(x: Tensor, mask: Tensor, rows: Tensor, count: int) -> Masked:
    """Rows of a level's features and mask in their places; the others, which nothing looks at, are unknown."""
    features, known = x.new_zeros(count, x.shape[1]), mask.new_zeros(count)
    features[rows], known[rows] = x, mask
    return features, known


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
