"""How wide a rim of the photo next to a depth edge should not give its colour to what the edge hides.

    python experiments/photo_3d/soft_edges.py

One photo before another, cut out along a random contour: so the hidden colours are known. The edge is as soft as a
photo's, and the depth's edge lies where it should, or a pixel or two beside it. Filled by diffusion, which the network
starts from. Motorcycle is not among the photos.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter

from kinema.systems.photo_3d.inpainting import fill
from kinema.systems.photo_3d.inpainting_recipe import draw_hole
from kinema.systems.photo_3d.lifting import lift
from kinema.systems.photo_3d.photos import read_photos

from motorcycle import Array
from view_reports import arguments, markdown, write

NAME = "soft_edges"
SIDE = 192  # pixels of a crop
SOFTNESS = (0.0, 0.5, 0.8, 1.2)  # deviation of the blur, in pixels
OFFSETS = (-2, -1, 0, 1)  # pixels by which the depth's edge lies outside of the object; below 0 inside
RIMS = (0, 1, 2, 3, 4, 6)


def composite(number: int, softness: float, offset: int) -> tuple[Array, Array, Array]:
    """A picture and the background in it, (S, S, 3) uint8, and its disparity (S, S): two planes."""
    rng = np.random.default_rng(number)
    photos = read_photos(smallest=SIDE)
    behind, before = (_crop(photos[k], rng) for k in rng.choice(len(photos), 2, replace=False))
    known, _ = draw_hole(SIDE, rng)
    share = (
        gaussian_filter((~known).astype(np.float64), softness)[..., None] if softness else ~known[..., None]
    )
    picture = np.rint(behind * (1 - share) + before * share).astype(np.uint8)
    inside = ~known
    if offset:
        moved = binary_dilation if offset > 0 else binary_erosion
        inside = moved(inside, np.ones((3, 3)), iterations=abs(offset), border_value=int(offset < 0))
    return picture, behind, np.where(inside, np.float32(0.8), np.float32(0.2))


def _crop(photo: Array, rng: np.random.Generator) -> Array:
    top, left = (int(rng.integers(side - SIDE + 1)) for side in photo.shape[:2])
    return photo[top : top + SIDE, left : left + SIDE]


def hidden_psnr(number: int, softness: float, offset: int, rims: Sequence[int]) -> list[float] | None:
    """PSNR in dB of what is hidden, by the width of the rim; None where the object is too small to hide anything."""
    picture, behind, disparity = composite(number, softness, offset)
    image = lift(picture, disparity)
    hidden = ~image.known
    if not hidden.any():
        return None
    truth = behind[image.y[hidden], image.x[hidden]] / 255
    filled = (fill(image, "diffusion", rim=rim).colour[hidden] for rim in rims)
    return [float(-10 * np.log10(np.square(colour - truth).mean())) for colour in filled]


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    began = time.process_time()
    count, rims = (2, RIMS[:2]) if given.quick else (24, RIMS)
    arms: dict[str, dict[str, float]] = {}
    for softness in SOFTNESS:
        for offset in OFFSETS[2:3] if given.quick else OFFSETS:
            rows = [hidden_psnr(number, softness, offset, rims) for number in range(count)]
            means = np.mean([row for row in rows if row is not None], 0)
            arms[f"blur {softness}, offset {offset}"] = {
                f"rim {rim}": float(mean) for rim, mean in zip(rims, means, strict=True)
            }
    means = {f"rim {rim}": float(np.mean([row[f"rim {rim}"] for row in arms.values()])) for rim in rims}
    print(markdown("PSNR of hidden colours, dB", arms | {"mean": means}))
    result = {"pictures": count, "arms": arms, "mean": means}
    write(NAME, given, time.process_time() - began, result)


if __name__ == "__main__":
    main()
