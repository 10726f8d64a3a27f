"""What happens to pixels and disparity before Omnivore sees them: the steps of the released evaluation, kept as data.

The trap is the fourth channel. The network was trained on disparity in pixels of SUN RGB-D's cameras, cut to 0.01 to 75
and divided by 75; the public training configuration then leaves it so (mean 0, deviation 1), the published weights were
evaluated with mean 0.0418 and deviation 0.0295. And what its owners call metres are the numbers in SUN RGB-D's files
divided by 1000, without undoing the turn by three bits that those files have: 8 times the distance.

Nobody says that the published statistics are of such numbers, but they fit no others. A mean of 0.0418 is 3.1 pixels
of 75. With baselines of 0.075 or 0.095 m and SUN's focal lengths of about 520 to 690 pixels that is a harmonic mean
distance of 12 to 21 true metres, which no room has and no such sensor reaches; an eighth, 1.6 to 2.6 m, is a room. A
network that is given eight times the disparity sees it at 5 of its deviations and more. So `sun_disparity` puts the 8
in by default.
"""

# T frames, H W rows and columns, S the network's side

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.data.preprocessing import MAX_PIXELS, Preprocessing
from kinema.errors import UserError
from kinema.media.depth import Depth
from kinema.settings import known_settings, plain_settings

BASELINES: Final = {
    "kv1": 0.075,
    "kv2": 0.075,
    "realsense": 0.095,
    "xtion": 0.095,
}  # metres, of SUN's sensors
PICTURE: Final = Preprocessing(size=224, interpolation="bilinear")
SUN_METRE: Final = 8.0  # what a metre is in the files of SUN RGB-D, divided by 1000
NEAREST, FARTHEST = 0.01, 50.0  # to which their distances were cut
Floats = npt.NDArray[np.float32]
Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class OmnivorePreprocessing:
    """Steps from files' pixels to the network's scale; lengths are in frames.

    picture: of colours, in images, clips and RGB-D alike; an RGB-D picture is resized as floats, all four channels.
    disparity: what the fourth channel is made of, see `fourth_channel`.
    max_disparity, min_disparity: what lies outside is cut, and then divided by the former.
    depth_mean, depth_std: of the result.
    frames: of one clip. sampled, stride: frames that a whole video is brought to, and steps between its clips.
    squares: which of the three along the longer side are looked at: both ends are 0 and 2, the middle is 1.
    antialias: whether frames that shrink are smoothed first, which the published evaluation leaves out.
    """

    picture: Preprocessing = PICTURE
    disparity: Literal["sun", "relative"] = "sun"
    max_disparity: float = 75.0
    min_disparity: float = 0.01
    depth_mean: float = 0.0418
    depth_std: float = 0.0295
    frames: int = 32
    sampled: int = 160
    stride: int = 40
    squares: tuple[int, ...] = (0, 1, 2)
    antialias: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "squares", tuple(self.squares))  # JSON gives lists
        if self.disparity not in ("sun", "relative"):
            raise UserError(f"disparity={self.disparity!r} must be sun or relative")
        if not self.squares or not set(self.squares) <= {0, 1, 2}:
            raise UserError(f"squares={self.squares} must be some of 0, 1 and 2")
        if isinstance(self.picture, Mapping):
            object.__setattr__(self, "picture", Preprocessing.from_dict(self.picture))
        if not 0 <= self.min_disparity < self.max_disparity or self.depth_std <= 0:
            raise UserError(
                f"disparity from {self.min_disparity} to {self.max_disparity} with {self.depth_std=}"
            )
        if not 1 <= self.frames <= self.sampled or self.stride < 1:
            raise UserError(f"clips of {self.frames} frames, {self.stride} apart, are not in {self.sampled}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return plain_settings(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OmnivorePreprocessing:
        """The inverse of `to_dict`."""
        return cls(**known_settings(cls, values))

    def image(self, pixels: Frames) -> Tensor:
        """uint8 (H, W, 3) -> (3, 1, S, S)."""
        return self.picture.image(pixels)[:, None]

    def fourth_channel(self, depth: Depth) -> Floats:
        """A depth map as the disparity that the network was trained on: float32 (H, W).

        `sun`: pixels of SUN RGB-D's cameras, from metres and a focal length, see `sun_disparity`. `relative`: 0 at the
        farthest and 1 at the nearest place of this very map, see `Depth.normalised`: any kind of depth will do.
        """
        return sun_disparity(depth) if self.disparity == "sun" else depth.normalised()

    def rgbd(self, pixels: Frames, disparity: Floats | Tensor) -> Tensor:
        """uint8 (H, W, 3) and disparity (H, W), see `fourth_channel` -> (4, 1, S, S).

        Where disparity is NaN the largest one stands, which is what an empty pixel became in training.
        """
        apart = torch.as_tensor(disparity, dtype=torch.float32)
        if apart.shape != pixels.shape[:2]:
            raise UserError(
                f"the disparity is {tuple(apart.shape)} and the picture {pixels.shape[:2]}: they must be of one size"
            )
        colours = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255
        return self.four_channels(colours, apart)

    def depth_only(self, disparity: Floats | Tensor) -> Tensor:
        """Disparity (H, W) without its picture -> (4, 1, S, S): colours are zero on the network's scale."""
        apart = torch.as_tensor(disparity, dtype=torch.float32)
        four = self.four_channels(apart.new_zeros(3, *apart.shape), apart)
        four[:3] = 0
        return four

    def four_channels(self, colours: Tensor, disparity: Tensor) -> Tensor:
        """Colours (3, H, W) in [0, 1] and disparity (H, W) -> (4, 1, S, S)."""
        cut = disparity.nan_to_num(self.max_disparity).clamp(self.min_disparity, self.max_disparity)
        both = _centre(torch.cat([colours, cut[None] / self.max_disparity]), self.picture)
        depth = (both[3:] - self.depth_mean) / self.depth_std
        return torch.cat([self.picture.normalise(both[:3]), depth])[:, None]

    def clip(self, frames: Frames) -> Tensor:
        """uint8 (T, H, W, 3) of any T -> (3, frames, S, S): frames spread evenly over all, and the middle square."""
        return self._square(self._resized(frames, self.frames), 1)

    def views(self, frames: Frames) -> Tensor:
        """A whole video, uint8 (T, H, W, 3) -> (V, 3, frames, S, S): its clips in time by its squares, in this order.

        Of released networks that is 4 by 3. Softmax outputs of the views are averaged.
        """
        long = self._resized(frames, self.sampled)
        starts = range(0, self.sampled - self.frames + 1, self.stride)
        return torch.stack(
            [
                self._square(long[:, start : start + self.frames], place)
                for start in starts
                for place in self.squares
            ]
        )

    def _resized(self, frames: Frames, number: int) -> Tensor:
        """So many frames, the last one included, their short side at S: (3, number, h, w) on the network's scale."""
        if frames.ndim != 4 or 0 in frames.shape:
            raise UserError(f"the clip has the shape {frames.shape}: expected frames (T, H, W, 3), not empty")
        chosen = torch.linspace(0, len(frames) - 1, number).long()
        height, width = frames.shape[1:3]
        size = self.picture.size
        short = min(height, width)
        rows, columns = (
            math.floor(height / short * size) if height > short else size,
            math.floor(width / short * size) if width > short else size,
        )
        _check(rows, columns, height, width)
        needed, places = chosen.unique_consecutive(return_inverse=True)  # a short clip repeats frames
        clip = torch.from_numpy(frames[needed.numpy()]).permute(0, 3, 1, 2).float() / 255
        clip = F.interpolate(
            clip, (rows, columns), mode="bilinear", align_corners=False, antialias=self.antialias
        )
        return self.picture.normalise(clip)[places].transpose(0, 1)

    def _square(self, clip: Tensor, place: int) -> Tensor:
        """Square 0, 1 or 2 along the longer side, the middle one rounded up."""
        size, (height, width) = self.picture.size, clip.shape[2:]
        top, left = math.ceil((height - size) / 2), math.ceil((width - size) / 2)
        if place != 1:
            if height > width:
                top = 0 if place == 0 else height - size
            else:
                left = 0 if place == 0 else width - size
        return clip[:, :, top : top + size, left : left + size]


RELEASED: Final = OmnivorePreprocessing()  # what the published weights were evaluated with
TRAINING: Final = dataclasses.replace(
    RELEASED, depth_mean=0.0, depth_std=1.0
)  # the public training configuration


def sun_disparity(depth: Depth, baseline: float = BASELINES["kv1"], metre: float = SUN_METRE) -> Floats:
    """A measured depth map as the disparity that Omnivore was trained on: float32 (H, W), NaN where unknown.

    Args:
        depth: in metres with the camera's focal length, or disparity with focal length and baseline.
        baseline: metres between the two lenses that are imagined, of SUN's sensors: see `BASELINES`.
        metre: what one metre counts, see the head of this file; 1 for networks trained on true metres.

    Raises:
        UserError: the map has no known scale, or its focal length is not known.
    """
    if not depth.scale_known:
        raise UserError(
            "relative disparity has no scale, and the network was trained on pixels of disparity: give depth in metres "
            "with the camera's focal length"
        )
    metres, camera = depth.to_metres().values, depth.intrinsics
    if camera is None:
        raise UserError("the depth map's focal length is not known: give intrinsics with it")
    return (baseline * camera.focal / np.clip(metres * metre, NEAREST, FARTHEST)).astype(np.float32)


def _centre(planes: Tensor, settings: Preprocessing) -> Tensor:
    """Floats (C, H, W) -> (C, S, S): the short side to its size, smoothed where it shrinks, and the middle cut out."""
    height, width = planes.shape[1:]
    size, short = settings.size, settings.resize or settings.size
    rows, columns = (
        (short, int(short * width / height)) if height <= width else (int(short * height / width), short)
    )
    _check(rows, columns, height, width)
    if (rows, columns) != (height, width):
        planes = F.interpolate(
            planes[None], (rows, columns), mode=settings.interpolation, align_corners=False, antialias=True
        )[0]
    top, left = round((rows - size) / 2), round((columns - size) / 2)
    return planes[:, top : top + size, left : left + size]


def _check(rows: int, columns: int, height: int, width: int) -> None:
    if rows * columns > MAX_PIXELS:
        raise UserError(f"a picture of {width} x {height} pixels is too thin a strip: crop it first")
