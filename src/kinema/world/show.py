"""A page to look at: scenes as film strips with their words, and on demand the truth that comes with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import PIL.Image
from PIL import ImageDraw, ImageFont

from kinema.errors import UserError
from kinema.media.image import Image
from kinema.media.sheet import evenly_spaced, wrapped
from kinema.world.captions import caption
from kinema.world.colours import colour_depth, colour_flow, colour_masks, colour_thermal
from kinema.world.hashtags import hashtags
from kinema.world.renderer import render
from kinema.world.scene import Scene
from kinema.world.sound_picture import sound_picture
from kinema.world.truth import depth, masks, optical_flow, stereo, thermal

Pixels = npt.NDArray[np.uint8]  # (H, W, 3)
PAPER, INK, SOFT = (252, 251, 248), (38, 38, 42), (120, 118, 114)
TRUTHS = 6  # tiles in the row of truth


@dataclass(frozen=True)
class _Tile:
    picture: Pixels
    label: str = ""


@dataclass(frozen=True)
class _Card:
    strip: list[_Tile]
    truth: list[_Tile]
    caption: str
    note: str


def contact_sheet(
    scenes: Sequence[Scene],
    columns: int = 1,
    *,
    frames: int = 6,
    frame_height: int = 160,
    truth: bool = False,
    title: str = "",
) -> Image:
    """Scenes on one page: `frames` frames of each, its caption and hashtags underneath.

    With `truth` every scene has a second strip: depth, masks, flow, temperature, the right-hand view and the sound's
    spectrogram with a mark at every event.

    Raises:
        UserError: there are no scenes, or a number is too small.
    """
    if not scenes:
        raise UserError("there are no scenes to show: expected at least one")
    if columns < 1 or frames < 2 or frame_height < 48:
        raise UserError(
            f"columns={columns}, frames={frames}, frame_height={frame_height}: expected at least 1, 2, 48"
        )
    cards = [_card(scene, frames, frame_height, truth) for scene in scenes]
    return Image(_page(cards, min(columns, len(cards)), frame_height, frames, title))


def _card(scene: Scene, frames: int, height: int, truth: bool) -> _Card:
    clip = render([scene], *_clip(scene, height))[0].permute(1, 2, 3, 0).numpy()  # (T, H, W, 3)
    shown = evenly_spaced(clip.shape[0], frames)
    strip = [_Tile(clip[i]) for i in shown]
    note = " ".join(f"#{t}" for t in hashtags(scene))
    return _Card(strip, _truth(scene, clip, height) if truth else [], caption(scene), note)


def _clip(scene: Scene, height: int) -> tuple[int, int, int, float]:
    """Frames, height, width, rate: the whole scene, its last frame at the end."""
    rate = 12.0
    return max(2, round(scene.duration * rate)), height, height, rate


def _truth(scene: Scene, clip: Pixels, height: int) -> list[_Tile]:
    """Ground truth at the middle of the clip."""
    size, middle = _clip(scene, height), clip.shape[0] // 2
    metres = depth([scene], *size)[0, 0, middle]
    shares = masks([scene], *size)[0, :, middle]
    moved = optical_flow([scene], *size).pixels[0, :, middle] * (size[3] / height)  # frame heights per second
    degrees = thermal([scene], *size)[0, 0, middle]
    right = stereo([scene], *size).right[0, :, middle].permute(1, 2, 0).numpy()
    still = "no motion" if float(moved.norm(dim=0).max()) < 1e-3 else "flow"
    return [
        _Tile(colour_depth(metres), f"depth  {metres.min():.1f} to {metres.max():.0f} m"),
        _Tile(colour_masks(clip[middle], shares), "masks"),
        _Tile(colour_flow(moved), still),
        _Tile(colour_thermal(degrees), f"heat  {degrees.min():.0f} to {degrees.max():.0f} °C"),
        _Tile(right, "right-hand view"),
        _Tile(*sound_picture(scene, height, height)),
    ]


def _rounded(page: PIL.Image.Image, tile: Pixels, left: int, top: int, radius: int) -> None:
    height, width = tile.shape[:2]
    mask = PIL.Image.new("L", (4 * width, 4 * height), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, 4 * width - 1, 4 * height - 1), 4 * radius, fill=255)
    page.paste(
        PIL.Image.fromarray(tile), (left, top), mask.resize((width, height), PIL.Image.Resampling.LANCZOS)
    )


def _page(cards: list[_Card], columns: int, tile: int, frames: int, title: str) -> Pixels:
    big, small = max(12, round(tile * 0.125)), max(10, round(tile * 0.085))
    fonts = {size: ImageFont.load_default(size) for size in (round(big * 1.7), big, small)}
    gap, margin, between = max(3, tile // 32), round(big * 2), round(big * 1.9)
    count = max(frames, TRUTHS if cards[0].truth else 0)
    width = count * (tile + gap) - gap
    words = [
        (wrapped(c.caption, fonts[big], width, 2), wrapped(c.note, fonts[small], width, 2)) for c in cards
    ]
    line, label = round(big * 1.4), round(small * 1.45)
    truth = gap + tile + label + small // 3 if cards[0].truth else 0
    heights = [tile + truth + big // 2 + line * len(spoken) + label * len(tags) for spoken, tags in words]
    rows = [max(heights[r : r + columns]) for r in range(0, len(cards), columns)]
    top = margin + (round(big * 3.2) if title else 0)
    page = PIL.Image.new(
        "RGB",
        (
            2 * margin + columns * (width + between) - between,
            top + sum(rows) + between * (len(rows) - 1) + margin,
        ),
        PAPER,
    )
    draw = ImageDraw.Draw(page)
    if title:
        draw.text((margin, margin - big // 3), title, font=fonts[round(big * 1.7)], fill=INK)
    for index, (card, (spoken, tags)) in enumerate(zip(cards, words)):
        row, column = divmod(index, columns)
        left, y = margin + column * (width + between), top + sum(rows[:row]) + between * row
        for slot, piece in enumerate(card.strip):
            _rounded(page, piece.picture, left + slot * (tile + gap), y, tile // 24)
        y += tile
        if card.truth:
            y += gap
            for slot, piece in enumerate(card.truth):
                x = left + slot * (tile + gap)
                _rounded(page, piece.picture, x, y, tile // 24)
                draw.text((x + 2, y + tile + small // 5), piece.label, font=fonts[small], fill=SOFT)
            y += tile + label + small // 3
        y += big // 2
        for text in spoken:
            draw.text((left, y), text, font=fonts[big], fill=INK)
            y += line
        for text in tags:
            draw.text((left, y), text, font=fonts[small], fill=SOFT)
            y += label
    return np.array(page, dtype=np.uint8)
