"""A clip and its sound on one picture: film strip above, spectra below, with marks at the times of events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from PIL import ImageDraw, ImageFont

from kinema.errors import UserError
from kinema.media import Image, Sound, Video
from kinema.world.colours import SPECTRUM, ramp
from kinema.world.sound_picture import spectrogram

PAPER, INK, SOFT = (252, 251, 248), (38, 38, 42), (120, 118, 114)
MARK = (255, 255, 255)


@dataclass(frozen=True)
class Track:
    """One spectrum of the picture: its name, the sound, and the times (s) at which something happens."""

    name: str
    sound: Sound
    marks: Sequence[float] = ()


def sound_strip(
    video: Video, tracks: Sequence[Track], title: str = "", *, frames: int = 12, frame_height: int = 96
) -> Image:
    """The strip over one spectrum for each track, all as wide as the clip is long. Raises UserError without tracks."""
    if not tracks:
        raise UserError("there is no sound to draw: pass at least one track")
    small, gap = max(11, frame_height // 8), max(3, frame_height // 24)
    height, width = frame_height, round(frame_height * video.frames.shape[2] / video.frames.shape[1])
    count = min(frames, video.num_frames)
    across = count * (width + gap) - gap
    margin, line = 2 * small, round(1.6 * small)
    top = margin + (line if title else 0)
    page = PIL.Image.new(
        "RGB",
        (across + 2 * margin, top + height + len(tracks) * (gap + line + height) + margin),
        PAPER,
    )
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(small)
    if title:
        draw.text((margin, margin - small // 3), title, font=font, fill=INK)
    for slot in range(count):
        number = int(
            (slot + 0.5) / count * video.num_frames
        )  # what is shown at the middle of the slot's time
        picture = PIL.Image.fromarray(video.frames[number]).resize(
            (width, height), PIL.Image.Resampling.LANCZOS
        )
        page.paste(picture, (margin + slot * (width + gap), top))
    y = top + height + gap
    for track in tracks:
        page.paste(PIL.Image.fromarray(_spectrum(track, video.seconds, height, across)), (margin, y))
        _arrows(draw, track, video.seconds, margin, y, across, small // 2)
        draw.text((margin, y + height + small // 5), track.name, font=font, fill=SOFT)
        y += height + line + gap
    return Image(np.array(page, dtype=np.uint8))


def _spectrum(track: Track, seconds: float, height: int, width: int) -> npt.NDArray[np.uint8]:
    """(height, width, 3); what lies beyond the sound's end is dark."""
    samples = torch.from_numpy(track.sound.samples).mean(0)
    whole = torch.zeros(max(round(seconds * track.sound.rate), 4096))
    kept = min(len(whole), len(samples))
    whole[:kept] = samples[:kept]
    return ramp(spectrogram(whole, track.sound.rate, height, width), SPECTRUM)


def _arrows(
    draw: ImageDraw.ImageDraw, track: Track, seconds: float, left: int, top: int, width: int, half: int
) -> None:
    for time in track.marks:
        if 0 <= time <= seconds:
            x = left + min(width - 1, round(time / seconds * width))
            draw.polygon([(x - half, top), (x + half, top), (x, top + 2 * half)], fill=MARK)
