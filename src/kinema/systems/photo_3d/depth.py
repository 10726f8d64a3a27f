"""A photo into disparity: what `kinema depth`, `kinema photo3d` and `kinema.load` call."""

# H W rows and columns of the photo

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch

from kinema.errors import UserError
from kinema.media import Provenance
from kinema.media.depth import Depth
from kinema.media.photo import check_shape
from kinema.systems.photo_3d.depth_model import MULTIPLE, Tiefenrausch
from kinema.systems.photo_3d.depth_weights import load_depth
from kinema.systems.photo_3d.upsampling import area_resize, guided_upsample

LONG_SIDE: Final = 384  # pixels of the picture that the network sees, unless its file says otherwise
NAME: Final = "photo-3d-depth-nano"


class DepthEstimator:
    """A depth network ready for photos. Build one with `kinema.load("photo_3d/tiefenrausch", weights=FILE)`.

    long_side: pixels of the longer side that the network sees, a multiple of 32. Much more or less than it was trained
    with ruins the depth.
    """

    def __init__(
        self, network: Tiefenrausch, device: str = "cpu", long_side: int = LONG_SIDE, weights_hash: str = ""
    ) -> None:
        if long_side < MULTIPLE or long_side % MULTIPLE:
            raise UserError(f"long_side={long_side} must be a multiple of {MULTIPLE}, such as {LONG_SIDE}")
        # Channels last: most of the time goes into 1x1 and depthwise convolutions, which a CPU then does twice as fast.
        self.network = network.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.device, self.long_side, self.weights_hash = torch.device(device), long_side, weights_hash

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns that the network sees: the longer side `long_side`, both cut to multiples of 32."""
        scale = self.long_side / max(height, width)
        sides = (int(height * scale + 1e-6), int(width * scale + 1e-6))
        rows, columns = (max(MULTIPLE, side - side % MULTIPLE) for side in sides)
        return rows, columns

    @torch.no_grad()
    def small(self, photo: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The network's own disparity, as small as it sees the photo: uint8 (H, W, 3) -> float32 (h, w)."""
        _check(photo)
        pixels = area_resize(photo, *self.network_size(*photo.shape[:2]))
        dtype = next(
            self.network.parameters()
        ).dtype  # float64 makes eight-bit sums exact, at ten times the time
        x = torch.from_numpy(pixels).to(self.device).permute(2, 0, 1)[None].to(dtype) / 255
        x = x.contiguous(memory_format=torch.channels_last)  # (1, 3, h, w)
        return self.network.disparity(x)[0, 0].float().cpu().numpy()

    def estimate(self, photo: npt.NDArray[np.uint8], size: Literal["photo", "network"] = "photo") -> Depth:
        """Relative disparity of a photo, near is large: uint8 (H, W, 3) sRGB -> Depth (H, W).

        size: `photo` brings it to the photo's size along the photo's edges; `network` leaves it small.

        Raises:
            UserError: the array is no photo.
        """
        disparity = self.small(photo)
        if size == "photo":
            small = disparity.shape[0] > photo.shape[0] or disparity.shape[1] > photo.shape[1]
            if small:  # the network saw it larger than it is
                shrunk = Depth(disparity, "relative_disparity").resized(*photo.shape[:2])
                disparity = shrunk.values
            else:
                disparity = guided_upsample(disparity, photo)
        made = Provenance(model=NAME, weights_hash=self.weights_hash, settings={"long_side": self.long_side})
        return Depth(disparity, "relative_disparity", metadata={"kinema": made})


def load(
    path: Path | None,
    device: str = "cpu",
    arithmetic: Literal["int8", "float"] = "int8",
    long_side: int | None = None,
) -> DepthEstimator:
    """Open a weight file: nano's, or the official network's after conversion.

    arithmetic: of a network with eight-bit ranges, `int8` rounds as the phone does and `float` only clamps. long_side:
    None takes what stands in the file (what the network was trained with), or 384.
    """
    from kinema.weights import weights_hash

    if path is None:
        raise UserError("the depth network needs weights: give a file with --weights FILE")
    if arithmetic not in ("int8", "float"):
        raise UserError(f"arithmetic={arithmetic!r} must be int8 or float")
    network, facts = load_depth(path, arithmetic)
    side = facts.get("long_side", LONG_SIDE) if long_side is None else long_side
    if not isinstance(side, int):
        raise UserError(
            f"'{path.name}' names {side!r} as long_side, which is no number of pixels: get it again"
        )
    return DepthEstimator(network, device, side, weights_hash(path))


def estimate(photo: npt.NDArray[np.uint8], model: DepthEstimator | None = None) -> Depth:
    """Relative disparity of a photo, uint8 (H, W, 3) -> Depth (H, W); without a model, with the nano weights.

    Raises:
        UserError: the array is no photo, or this copy of kinema has no nano weights.
    """
    if model is None:
        import kinema

        model = kinema.load(NAME)
    return model.estimate(photo)


def _check(photo: npt.NDArray[np.uint8]) -> None:
    shape, kind = getattr(photo, "shape", None), getattr(photo, "dtype", type(photo))
    if not isinstance(photo, np.ndarray) or photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise UserError(f"the photo has shape {shape} and type {kind}: expected uint8 (rows, columns, 3)")
    check_shape(photo.shape[0], photo.shape[1], "the photo")
