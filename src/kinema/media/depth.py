"""Depth that says what it is: the kind of number, which sign is near, the unit, and whether its scale is known.

A depth map without these is the field's most asked question. Converters refuse what would need a guess.
"""

# H W rows and columns

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from kinema.errors import UserError
from kinema.media.files import PathLike

Kind = Literal["relative_disparity", "disparity_px", "depth_m"]

# kind -> (unit, what a large value means, whether the scale is known)
KINDS: Final[dict[str, tuple[str, str, bool]]] = {
    "relative_disparity": ("none, known up to a factor", "near", False),
    "disparity_px": ("pixels of this picture", "near", True),
    "depth_m": ("metres along the camera's axis", "far", True),
}


@dataclass(frozen=True, kw_only=True)
class Intrinsics:
    """The camera that a depth map belongs to, in pixels of that map.

    focal: of columns and rows alike. cx, cy: the principal point. baseline: metres to the second camera, of a stereo
    pair. doffs: columns by which the second camera's principal point lies further right.
    """

    focal: float
    cx: float | None = None
    cy: float | None = None
    baseline: float | None = None
    doffs: float = 0.0

    def __post_init__(self) -> None:
        given = [value for value in dataclasses.astuple(self) if value is not None]
        apart = 1.0 if self.baseline is None else self.baseline
        if not all(np.isfinite(given)) or self.focal <= 0 or apart <= 0:
            raise UserError(f"{self} is no camera: expected finite numbers, focal and baseline above 0")


@dataclass(frozen=True, eq=False)
class Depth:
    """One number for each pixel, float32 (H, W), NaN where nothing is known.

    kind:
        relative_disparity: 1 / distance up to an unknown factor; large is near.
        disparity_px: columns between the views of a stereo pair, x_left - x_right; large is near.
        depth_m: metres along the camera's axis; large is far.
    intrinsics: the camera, where a conversion was made with it or will be.
    """

    values: npt.NDArray[np.float32]
    kind: Kind
    intrinsics: Intrinsics | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = self.values
        if self.kind not in KINDS:
            raise UserError(f"'{self.kind}' is no kind of depth: choose {', '.join(KINDS)}")
        if not isinstance(values, np.ndarray) or values.ndim != 2 or 0 in values.shape:
            shape = getattr(values, "shape", None)
            raise UserError(f"the depth has shape {shape}: expected an array (rows, columns), not empty")
        if values.dtype != np.float32:
            raise UserError(f"the depth is of type {values.dtype}: expected float32")
        if np.isinf(values).any():
            raise UserError("the depth has infinite values: write NaN where nothing is known")

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.values.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.values.shape[1])

    @property
    def unit(self) -> str:
        """What a value of 1 is."""
        return KINDS[self.kind][0]

    @property
    def large_is(self) -> str:
        """`near` or `far`: what a large value means."""
        return KINDS[self.kind][1]

    @property
    def scale_known(self) -> bool:
        """Whether the values can be turned into metres, given a calibrated camera."""
        return KINDS[self.kind][2]

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Where there is a value: bool (H, W)."""
        return np.isfinite(self.values)

    def to_metres(self) -> Depth:
        """Distance along the camera's axis: focal * baseline / (disparity + doffs), NaN where that is not above 0.

        Raises:
            UserError: the scale is unknown, or the camera's focal length and baseline are.
        """
        if self.kind == "depth_m":
            return self
        camera = self._stereo("metres")
        shifted = self.values + camera.doffs
        with np.errstate(divide="ignore", invalid="ignore"):
            metres = camera.focal * _baseline(camera) / np.where(shifted > 0, shifted, np.nan)
        return Depth(_finite(metres), "depth_m", self.intrinsics, self.metadata)

    def to_pixels(self) -> Depth:
        """Disparity in columns of this picture: focal * baseline / metres - doffs.

        Raises:
            UserError: as `to_metres`.
        """
        if self.kind == "disparity_px":
            return self
        camera = self._stereo("pixels of disparity")
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = 1.0 / np.where(self.values > 0, self.values, np.nan)
            pixels = camera.focal * _baseline(camera) * inverse - camera.doffs
        return Depth(_finite(pixels), "disparity_px", self.intrinsics, self.metadata)

    def to_relative(self) -> Depth:
        """Inverse distance up to a factor, which every kind has: 1 / metres, or disparity plus doffs."""
        if self.kind == "relative_disparity":
            return self
        values: npt.NDArray[Any]
        if self.kind == "depth_m":
            with np.errstate(divide="ignore", invalid="ignore"):
                values = 1.0 / np.where(self.values > 0, self.values, np.nan)
        else:
            if self.intrinsics is None:
                raise UserError(
                    "disparity in pixels is inverse distance only up to the shift of the principal points (doffs): "
                    "give intrinsics, with doffs=0 for parallel cameras"
                )
            values = self.values + np.float32(self.intrinsics.doffs)
        return Depth(_finite(values), "relative_disparity", self.intrinsics, self.metadata)

    def normalised(self, low: float = 0.5, high: float = 99.5) -> npt.NDArray[np.float32]:
        """Disparity in [0, 1], float32 (H, W): 1 nearest, 0 farthest, by percentiles; where nothing is known, 0.

        The percentiles `low` and `high` become 0 and 1 and what lies beyond is clipped. A map without any relief
        becomes 0.5 everywhere. Of pixels without a known `doffs` the order is right and the spacing that of pixels.
        """
        values = self.values
        if self.kind == "depth_m":
            values = self.to_relative().values
        found = values[np.isfinite(values)]
        if not found.size:
            raise UserError("the depth has no known value, so there is nothing to normalise")
        bottom, top = (float(value) for value in np.percentile(found, [low, high]))
        if top - bottom <= 1e-6 * max(abs(top), abs(bottom), 1e-12):
            return np.full(values.shape, 0.5, np.float32)
        scaled = np.clip((values - np.float32(bottom)) / np.float32(top - bottom), 0.0, 1.0)
        return np.nan_to_num(scaled, nan=0.0).astype(np.float32)

    def resized(self, height: int, width: int) -> Depth:
        """Another size, bilinear, edges softened; disparity in pixels and the camera are scaled with the columns.

        Raises:
            UserError: there are unknown values, which would spread.
        """
        import PIL.Image

        if not self.known.all():
            raise UserError("the depth has unknown values, which resizing would spread: fill them first")
        picture = PIL.Image.fromarray(self.values).resize((width, height), PIL.Image.Resampling.BILINEAR)
        across, down = width / self.width, height / self.height
        values = np.array(picture, np.float32)
        if self.kind == "disparity_px":
            values *= np.float32(across)
        camera = self.intrinsics
        if camera is not None:
            camera = dataclasses.replace(
                camera,
                focal=camera.focal * across,
                cx=None if camera.cx is None else (camera.cx + 0.5) * across - 0.5,
                cy=None if camera.cy is None else (camera.cy + 0.5) * down - 0.5,
                doffs=camera.doffs * across,
            )
        return Depth(values, self.kind, camera, self.metadata)

    def write(self, path: PathLike, overwrite: bool = False) -> None:
        """Write .png (16 bits, units and sign as text inside), .exr (float32) or .npy, by the name. See `depth_files`.

        Raises:
            UserError: the name has another ending, exists already, or cannot be written.
        """
        from kinema.media.depth_files import write_depth

        write_depth(self, path, overwrite)

    @classmethod
    def read(cls, path: PathLike) -> Depth:
        """Read what `write` wrote, kind and camera included.

        Raises:
            UserError: the file is damaged, of another kind, or does not say what its numbers are.
        """
        from kinema.media.depth_files import read_depth

        return read_depth(path)

    def told(self) -> dict[str, Any]:
        """What the values are, in plain words and numbers, as it is written into files."""
        facts: dict[str, Any] = {
            "kind": self.kind,
            "unit": self.unit,
            "large_is": self.large_is,
            "scale_known": self.scale_known,
        }
        if self.intrinsics is not None:
            facts["intrinsics"] = dataclasses.asdict(self.intrinsics)
        return facts

    def _stereo(self, wanted: str) -> Intrinsics:
        if not self.scale_known:
            raise UserError(
                f"{self.kind} is known up to a factor only, so no {wanted} can be had from it: measure a distance "
                "in the picture, or use a stereo pair or a metric model"
            )
        if self.intrinsics is None or self.intrinsics.baseline is None:
            raise UserError(
                f"{wanted} from {self.kind} needs the focal length and the baseline: give "
                "intrinsics=Intrinsics(focal=..., baseline=...)"
            )
        return self.intrinsics


def _baseline(camera: Intrinsics) -> float:
    assert camera.baseline is not None
    return camera.baseline


def _finite(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return np.where(np.isfinite(values), values, np.nan).astype(np.float32)
