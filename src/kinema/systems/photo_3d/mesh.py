"""From a layered image to a textured mesh."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field

import numpy as np
import PIL.Image

from kinema.errors import UserError
from kinema.systems.photo_3d.atlas import BLOCK, paint
from kinema.systems.photo_3d.camera import Array, Camera
from kinema.systems.photo_3d.charts import CAP, RIM, SPECK, make_charts
from kinema.systems.photo_3d.layered import LayeredImage
from kinema.systems.photo_3d.straighten import straighten
from kinema.systems.photo_3d.triangulate import triangulate
from kinema.systems.photo_3d.viewing import View, find_view, parallax

QUALITIES = (30, 85)  # JPEG, from the least to the usual


@dataclass(frozen=True, kw_only=True)
class MeshSettings:
    """What the mesh may cost: triangles, bytes of the .glb, and texels on a side of the texture."""

    triangles: int = 20_000
    size: int = 1_000_000
    texture: int = 2048
    quality: int = QUALITIES[1]
    rim: int = RIM
    chart: int = CAP

    def __post_init__(self) -> None:
        for name, low, high in (
            ("triangles", 2, 2_000_000),
            ("size", 1_000, 1_000_000_000),
            ("texture", 256, 4096),
            ("quality", 1, 100),
            ("rim", 1, 64),
            ("chart", 16, 1024),
        ):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"{name} is {getattr(self, name)} and must lie between {low} and {high}")


@dataclass(frozen=True, kw_only=True)
class TexturedMesh:
    """Triangles with one texture.

    positions: (V, 3) float32 in glTF axes, in front of `camera`, which stands at the origin. texcoords: (V, 2) float32
    in [0, 1], (0, 0) the upper left corner of the texture. triangles: (T, 3) int32, counter-clockwise from the front.
    texture: (H, W, 3) uint8, as it was before compression; jpeg: as it is in the file. view: how far one
    may move. stages: seconds of each step.
    """

    positions: Array
    texcoords: Array
    triangles: Array
    texture: Array
    jpeg: bytes
    camera: Camera
    median_depth: float
    view: View
    stages: dict[str, float] = field(default_factory=dict)


def build_mesh(image: LayeredImage, camera: Camera, settings: MeshSettings = MeshSettings()) -> TexturedMesh:
    """The mesh of a layered image whose colours are all filled; the .glb of it stays within the settings.

    Raises UserError where camera and image differ in size, a value is not finite, or a budget cannot be kept.
    """
    if (camera.width, camera.height) != (image.width, image.height):
        raise UserError(
            f"the camera's photo is {camera.width}x{camera.height} and the layered image {image.width}x{image.height}: "
            "make both the same size"
        )
    if not (np.isfinite(image.colour).all() and np.isfinite(image.disparity).all()):
        raise UserError("the layered image holds values that are not finite: fill its colours first")
    stages, clock = dict[str, float](), _Clock()
    front = image.disparity[: image.width * image.height].reshape(image.height, image.width)
    median, view = float(np.median(camera.depth(front))), find_view(front, camera)
    reach = parallax(view, camera)
    for speck in (
        SPECK,
        8 * SPECK,
        64 * SPECK,
    ):  # where triangles are few, more of what is hidden goes without
        chart = make_charts(image, settings.rim, settings.chart, speck)
        stages["charts"] = stages.get("charts", 0) + clock.lap()
        atlas = paint(image, chart, settings.texture)
        stages["texture"] = stages.get("texture", 0) + clock.lap()
        flat = triangulate(image, chart, atlas, camera, reach, settings.triangles)
        stages["triangles"] = stages.get("triangles", 0) + clock.lap()
        if len(flat.triangles) <= settings.triangles:
            break
    else:
        raise UserError(
            f"the outlines of this photo need {len(flat.triangles)} triangles and {settings.triangles} were allowed: "
            "allow more"
        )
    budget = settings.triangles
    while True:
        inverse = camera.inverse_depth(flat.disparity.astype(np.float64))
        texture = _fit(straighten(atlas.texels, flat.texel, inverse, flat.triangles), settings.texture)
        stages["straightening"] = stages.get("straightening", 0) + clock.lap()
        room = settings.size - mesh_bytes(len(flat.position), len(flat.triangles))
        jpeg = _compress(texture, room, settings.quality)
        stages["compression"] = stages.get("compression", 0) + clock.lap()
        if jpeg is not None:
            break
        budget //= 2
        before = len(flat.triangles)
        flat = triangulate(image, chart, atlas, camera, reach, budget)
        stages["triangles"] = stages.get("triangles", 0) + clock.lap()
        if budget < 2 or len(flat.triangles) > 0.95 * before:
            raise UserError(
                f"the mesh does not fit into {settings.size} bytes: allow more, or make the photo smaller"
            )
    height, width = atlas.texels.shape[:2]
    return TexturedMesh(
        positions=camera.unproject(flat.position[:, 0], flat.position[:, 1], flat.disparity).astype(
            np.float32
        ),
        texcoords=(flat.texel / (width, height)).astype(np.float32),
        triangles=np.ascontiguousarray(flat.triangles[:, ::-1]),
        texture=texture,
        jpeg=jpeg,
        camera=camera,
        median_depth=median,
        view=view,
        stages=stages,
    )


def mesh_bytes(vertices: int, triangles: int) -> int:
    """Bytes of a .glb without its texture: positions, texture coordinates, indices, and a description."""
    return vertices * 16 + triangles * (6 if vertices < 1 << 16 else 12) + 2000


class _Clock:
    def __init__(self) -> None:
        self.last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last call."""
        before, self.last = self.last, time.perf_counter()
        return self.last - before


def _fit(texels: Array, largest: int) -> Array:
    """The texture no larger than allowed on a side."""
    height, width = texels.shape[:2]
    if max(height, width) <= largest:
        return texels
    size = [
        max(BLOCK, round(side * largest / max(height, width) / BLOCK) * BLOCK) for side in (width, height)
    ]
    return np.asarray(PIL.Image.fromarray(texels).resize((size[0], size[1]), PIL.Image.Resampling.LANCZOS))


def _compress(texture: Array, room: int, quality: int) -> bytes | None:
    """The texture as JPEG of at most `room` bytes, at the quality asked for or as near to it as fits; None for none."""
    best, low, high = None, min(QUALITIES[0], quality), quality
    at = high
    while low <= high:
        out = io.BytesIO()
        PIL.Image.fromarray(texture).save(out, "JPEG", quality=at, subsampling="4:2:0", optimize=True)
        if out.tell() <= room:
            best, low = out.getvalue(), at + 1
        else:
            high = at - 1
        at = (low + high) // 2
    return best
