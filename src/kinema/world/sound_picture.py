"""A scene's sound as a picture: its spectrum over time, with a mark where something is heard to happen."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
import torch.nn.functional as F
from PIL import ImageDraw, ImageFont
from torch import Tensor

from kinema.media.sheet import wrapped
from kinema.world.colours import SPECTRUM, ramp
from kinema.world.motion import events
from kinema.world.scene import Scene

Pixels = npt.NDArray[np.uint8]  # (H, W, 3)
LOWEST, HIGHEST = 80.0, 16000.0  # hertz, bottom and top of the picture
DECIBELS = 66.0  # from the darkest to the brightest


def spectrogram(samples: Tensor, rate: int, height: int, width: int) -> Tensor:
    """Level of a mono sound in [0, 1], low pitch at the bottom, octaves evenly: (n,) -> (height, width)."""
    window = 2048
    wave = F.pad(samples[None, None], (window // 2, window // 2), mode="reflect")[0, 0]
    hop = max(1, len(samples) // (2 * width))
    power = torch.stft(
        wave, window, hop, window=torch.hann_window(window), center=False, return_complex=True
    ).abs()
    pitch = LOWEST * (min(HIGHEST, 0.49 * rate) / LOWEST) ** torch.linspace(1, 0, height)
    place = pitch * window / rate
    low = place.long().clamp(max=power.shape[0] - 2)
    part = (place - low)[:, None]
    rows = power[low] * (1 - part) + power[low + 1] * part
    level = 20 * torch.log10(rows.clamp(min=1e-9))
    level = (level - level.max()) / DECIBELS + 1
    return F.interpolate(level.clamp(0, 1)[None, None], (height, width), mode="area")[0, 0]


def sound_picture(scene: Scene, height: int, width: int) -> tuple[Pixels, str]:
    """The spectrum of what the scene sounds like, and the words under it; events are ticks along the top."""
    try:
        sound: Any = importlib.import_module("kinema.world.sound")
        made = sound.render_sound([scene])
    except (ImportError, AttributeError):
        return _blank(
            "the sound needs kinema.world.sound, which this installation lacks", height, width
        ), "no sound"
    samples = torch.as_tensor(made).float()[0].reshape(-1, made.shape[-1]).mean(0)
    rate = round(len(samples) / scene.duration)
    happened = getattr(sound, "sound_events", events)(scene)
    pixels = ramp(spectrogram(samples, rate, height, width), SPECTRUM)
    marked = [e for e in happened if e.time > 0]
    columns = [min(width - 1, round(e.time / scene.duration * width)) for e in marked]
    for column in columns:  # a faint line down the picture
        pixels[::3, column] = pixels[::3, column] // 2 + 128
    picture = PIL.Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    half = max(3, height // 36)
    for column in columns:
        draw.polygon([(column - half, 0), (column + half, 0), (column, 2 * half)], fill=(255, 255, 255))
    heard = ", ".join(sorted({e.kind for e in marked}))
    return np.array(picture, dtype=np.uint8), f"sound: {heard}" if heard else "sound"


def _blank(sentence: str, height: int, width: int) -> Pixels:
    page = PIL.Image.new("RGB", (width, height), SPECTRUM[0])
    font = ImageFont.load_default(max(10, height // 12))
    ImageDraw.Draw(page).multiline_text(
        (width // 12, height // 6),
        "\n".join(wrapped(sentence, font, width - width // 6, 8)),
        font=font,
        fill=(170, 170, 190),
    )
    return np.array(page, dtype=np.uint8)
