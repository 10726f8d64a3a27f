"""From a photo and its disparity to a mesh, stage after stage: the call behind `kinema photo3d`.

from kinema.media.photo import read_photo
from kinema.systems.photo_3d.glb import write_glb
from kinema.systems.photo_3d.pipeline import lift_photo

mesh = lift_photo(read_photo("photo.jpg").pixels)  # depth from the nano network
write_glb(mesh, "photo.glb")
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import numpy as np
import PIL.Image

from kinema.errors import UserError
from kinema.media.depth import Depth
from kinema.media.stills import shrunk
from kinema.systems.photo_3d.camera import FIELD_OF_VIEW, Camera
from kinema.systems.photo_3d.clean import without_unknown
from kinema.systems.photo_3d.depth import DepthEstimator, estimate
from kinema.systems.photo_3d.inpainting import Farbrausch, fill
from kinema.systems.photo_3d.lifting import LiftSettings, lift
from kinema.systems.photo_3d.mesh import MeshSettings, TexturedMesh, build_mesh
from kinema.systems.photo_3d.viewing import find_view, parallax

LONG_SIDE = 1536  # pixels of the longer side at which a photo is lifted
SHAPE_TOLERANCE = 0.03  # by which the shape of given depth may differ from the photo's

T = TypeVar("T")


@dataclass
class Stopwatch:
    """Seconds of each stage, by its name."""

    seconds: dict[str, float] = field(default_factory=dict)

    def __call__(self, stage: str, function: Callable[..., T], *arguments: object) -> T:
        began = time.perf_counter()
        result = function(*arguments)
        self.seconds[stage] = time.perf_counter() - began
        return result


@dataclass(frozen=True, kw_only=True)
class Lifting:
    """How a photo becomes a mesh.

    long_side: larger photos are made smaller. field_of_view: horizontal, in degrees. near, far: depth of disparity 1
    and 0, which set how deep the scene is. colours: how what is hidden is coloured. layers: None
    lets hidden surfaces grow as far as a viewer can see them.
    """

    long_side: int = LONG_SIDE
    field_of_view: float = FIELD_OF_VIEW
    near: float = 1.0
    far: float = 5.0
    colours: Literal["network", "diffusion"] = "diffusion"
    layers: LiftSettings | None = None
    mesh: MeshSettings = field(default_factory=MeshSettings)


def lift_photo(
    photo: np.ndarray,
    depth: Depth | DepthEstimator | None = None,
    how: Lifting = Lifting(),
    network: Farbrausch | None = None,
    watch: Stopwatch | None = None,
) -> TexturedMesh:
    """Turn a photo (H, W, 3) uint8 sRGB into a textured mesh.

    depth: the photo's depth, of the same shape at any size; or what estimates it, None for the nano network. network:
    what colours hidden surfaces, None for the one in the package. watch: is told the seconds of every stage.

    Raises:
        UserError: the photo is none, or the depth has another shape.
    """
    watch = watch or Stopwatch()
    photo = shrunk(photo, how.long_side)
    disparity = watch("depth", _disparity, photo, depth)
    camera = Camera(photo.shape[1], photo.shape[0], how.field_of_view, how.near, how.far)
    image = watch("layers", lift, photo, disparity, how.layers or _layers(disparity, camera))
    image = watch("colours", fill, image, how.colours, network)
    return watch("mesh", build_mesh, image, camera, how.mesh)


def _layers(disparity: np.ndarray, camera: Camera) -> LiftSettings:
    """The usual settings, with growth as far as the widest uncovered place, where that is further."""
    usual = LiftSettings()
    widest = parallax(find_view(disparity, camera), camera)
    return replace(usual, steps=max(usual.steps, math.ceil(widest) + 2))


def _disparity(photo: np.ndarray, depth: Depth | DepthEstimator | None) -> np.ndarray:
    """Disparity (H, W) float32 in [0, 1] of the photo, 1 nearest."""
    if not isinstance(depth, Depth):
        depth = estimate(photo, depth)
    values = without_unknown(depth.normalised(), depth.known)
    height, width = photo.shape[:2]
    if values.shape != (height, width):
        rows, columns = values.shape
        if abs(columns / rows * height / width - 1) > SHAPE_TOLERANCE:
            raise UserError(
                f"the depth is {columns}x{rows} and the photo is lifted at {width}x{height}: give depth of the same "
                "shape"
            )
        # Halving and more averages what falls together; making it larger interpolates.
        image = PIL.Image.fromarray(values.astype(np.float32))
        values = np.asarray(image.resize((width, height), PIL.Image.Resampling.BILINEAR)).clip(0, 1)
    return np.ascontiguousarray(values, np.float32)
