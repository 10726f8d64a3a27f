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

PAPER, INK = (252, 251, 248), (38, 38, 42)
# Pillow's built-in font is Latin only: these have a plain spelling.
_PLAIN = str.maketrans({"—": "-", "–": "-", "…": "...", "‘": "'", "’": "'", "“": '"', "”": '"'})
_Font = Any


def evenly_spaced(num_frames: int, count: int) -> list[int]:
    """`count` frame numbers from the first frame to the last; a shorter clip repeats some."""
    return [int(index) for index in np.linspace(0, num_frames - 1, count).round()]


def wrapped(text: str, font: _Font, width: int, max_lines: int = 4) -> list[str]:
    """Lines of at most `width` pixels, broken at spaces, or inside a word that alone is too long."""
    lines, line = list[str](), ""
    for word in text.translate(_PLAIN).split():
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
        while last and font.getlength(last + " ...") > width:
            last = last[:-1]
        lines = [*lines[: max_lines - 1], last.rstrip(" ,.;:") + " ..."]
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

    Every frame is drawn `frame_height` pixels high with its own proportions; a column is as wide as its widest
    strip, and a caption is wrapped at its own strip. `title` stands on top. Raises UserError when there are no
    clips or the counts differ.
    """
    if not videos or len(videos) != len(captions):
        raise UserError(
            f"there are {len(videos)} clips and {len(captions)} captions: expected one caption a clip"
        )
    if columns < 1 or frames < 1 or frame_height < 8:
        raise UserError(
            f"columns={columns}, frames={frames}, frame_height={frame_height}: expected 1, 1, 8 or more"
        )
    font, heading = _font(font_size), _font(round(font_size * 1.5))
    inside, between, margin = round(font_size * 0.7), round(font_size * 1.5), round(font_size * 1.8)
    line, title_line = round(font_size * 1.35), round(font_size * 2.0)

    columns, rows = min(columns, len(videos)), -(-len(videos) // columns)
    strips = [_strip(video, frames, frame_height) for video in videos]
    blocks = [wrapped(text, font, strip.shape[1]) for text, strip in zip(captions, strips, strict=True)]
    widths = [max(strip.shape[1] for strip in strips[column::columns]) for column in range(columns)]
    lines = [max(map(len, blocks[row * columns : (row + 1) * columns])) for row in range(rows)]
    heights = [frame_height + (inside + line * count if count else 0) for count in lines]
    page_width = sum(widths) + between * (columns - 1)
    titles = wrapped(title, heading, page_width)
    top = margin + title_line * len(titles) + (inside if titles else 0)

    size = (page_width + 2 * margin, top + sum(heights) + between * (rows - 1) + margin)
    page = PIL.Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(page)
    for number, text in enumerate(titles):
        draw.text((margin, margin + number * title_line), text, font=heading, fill=INK)
    for index, (strip, block) in enumerate(zip(strips, blocks, strict=True)):
        row, column = divmod(index, columns)
        left = margin + sum(widths[:column]) + between * column
        upper = top + sum(heights[:row]) + between * row
        page.paste(PIL.Image.fromarray(strip), (left, upper))
        for number, text in enumerate(block):
            draw.text((left, upper + frame_height + inside + number * line), text, font=font, fill=INK)
    return Image(np.array(page, dtype=np.uint8), dict(metadata or {}))


def _font(size: int) -> _Font:
    return ImageFont.load_default(size)


def _strip(video: Video, count: int, height: int) -> npt.NDArray[np.uint8]:
    """One film strip (height, width, 3): frames side by side on paper, small ones enlarged smoothly."""
    width, gap = max(1, round(video.width * height / video.height)), max(2, height // 40)
    strip = np.empty((height, count * (width + gap) - gap, 3), np.uint8)
    strip[:] = PAPER
    for slot, index in enumerate(evenly_spaced(video.num_frames, count)):
        picture = PIL.Image.fromarray(video.frames[index]).resize(
            (width, height), PIL.Image.Resampling.LANCZOS
        )
        strip[:, slot * (width + gap) : slot * (width + gap) + width] = np.asarray(picture)
    return strip
