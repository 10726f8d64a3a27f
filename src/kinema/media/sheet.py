"""A contact sheet: clips as film strips with captions, for a README, a page or a first look at a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
from PIL import ImageDraw, ImageFont

from kinema.errors import UserError
from kinema.media.image import Image
from kinema.media.video import Video

PAPER, INK, SOFT = (252, 251, 248), (38, 38, 42), (120, 118, 114)
_Font = Any


def evenly_spaced(num_frames: int, count: int) -> list[int]:
    """`count` frame numbers from the first frame to the last; a shorter clip repeats some."""
    return [int(index) for index in np.linspace(0, num_frames - 1, count).round()]


def wrapped(text: str, font: _Font, width: int, max_lines: int = 4) -> list[str]:
    """Lines of at most `width` pixels, broken at spaces, or inside a word that alone is too long."""
    lines, line = list[str](), ""
    for word in text.split():
        trial = f"{line} {word}".strip()
        if font.getlength(trial) <= width:
            line = trial
            continue
        if line:
            lines.append(line)
        while font.getlength(word) > width and len(word) > 1:
            cut = next((n for n in range(len(word) - 1, 1, -1) if font.getlength(word[:n]) <= width), 1)
            lines.append(word[:cut])
            word = word[cut:]
        line = word
    lines = [*lines, line] if line else lines
    if len(lines) > max_lines:
        last = lines[max_lines - 1]
        while last and font.getlength(last + " …") > width:
            last = last[:-1]
        lines = [*lines[: max_lines - 1], last.rstrip(" ,.;:") + " …"]
    return lines


def contact_sheet(
    videos: Sequence[Video],
    captions: Sequence[str],
    columns: int = 1,
    *,
    frames: int = 6,
    frame_height: int = 128,
    font_size: int = 18,
    title: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> Image:
    """Clips as strips of `frames` evenly spaced frames, `columns` strips side by side, captions underneath.

    Every frame is drawn `frame_height` pixels high with its own proportions; all columns are as wide as the
    widest strip. `title` stands on top. Raises UserError when there are no clips or the counts differ.
    """
    if not videos or len(videos) != len(captions):
        raise UserError(
            f"there are {len(videos)} clips and {len(captions)} captions: expected one caption for a clip"
        )
    if columns < 1 or frames < 1 or frame_height < 8:
        raise UserError(
            f"columns={columns}, frames={frames}, frame_height={frame_height}: expected at least 1, 1, 8"
        )
    columns, gap, inside = (
        min(columns, len(videos)),
        max(2, frame_height // 40),
        max(8, round(font_size * 0.7)),
    )
    font, heading = _font(font_size), _font(round(font_size * 1.5))
    strips = [_strip(video, frames, frame_height, gap) for video in videos]
    width = max(strip.shape[1] for strip in strips)
    blocks = [wrapped(caption, font, width) for caption in captions]
    line, margin, rows = round(font_size * 1.35), round(font_size * 1.8), -(-len(videos) // columns)
    heights = [
        frame_height
        + inside
        + line * max(len(lines) for lines in blocks[row * columns : (row + 1) * columns])
        for row in range(rows)
    ]
    between = round(font_size * 1.5)
    heading_lines = wrapped(title, heading, columns * (width + between) - between) if title else []
    top = margin + len(heading_lines) * round(font_size * 2.0) + (inside if heading_lines else 0)
    size = (
        2 * margin + columns * (width + between) - between,
        top + sum(heights) + between * (rows - 1) + margin,
    )
    page = PIL.Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(page)
    for number, text in enumerate(heading_lines):
        draw.text((margin, margin + number * round(font_size * 2.0)), text, font=heading, fill=INK)
    for index, (strip, lines) in enumerate(zip(strips, blocks, strict=True)):
        row, column = divmod(index, columns)
        left, upper = margin + column * (width + between), top + sum(heights[:row]) + between * row
        page.paste(PIL.Image.fromarray(strip), (left, upper))
        for number, text in enumerate(lines):
            place = (left, upper + frame_height + inside + number * line)
            draw.text(place, text, font=font, fill=INK if number == 0 or len(lines) < 3 else SOFT)
    return Image(np.array(page, dtype=np.uint8), dict(metadata or {}))


def _font(size: int) -> _Font:
    return ImageFont.load_default(size)


def _strip(video: Video, count: int, height: int, gap: int) -> npt.NDArray[np.uint8]:
    """One film strip (height, width, 3): frames side by side on paper, small ones enlarged smoothly."""
    width = max(1, round(video.width * height / video.height))
    strip = np.empty((height, count * (width + gap) - gap, 3), np.uint8)
    strip[:] = PAPER
    for slot, index in enumerate(evenly_spaced(video.num_frames, count)):
        picture = PIL.Image.fromarray(video.frames[index]).resize(
            (width, height), PIL.Image.Resampling.LANCZOS
        )
        strip[:, slot * (width + gap) : slot * (width + gap) + width] = np.asarray(picture)
    return strip
