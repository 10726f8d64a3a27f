"""What fewer triangles cost: bytes and the photo seen again, over the budget, beside a mesh of every pixel.

    python benchmarks/mesh_budget.py [--budgets 7000 10000 15000 20000 40000] [--inpainting FILE] [--json]

Middlebury's Motorcycle (741x500, in scikit-image) is lifted with its true disparity, its holes filled from the farther
side. Each mesh is rendered from where the photo was taken, with the texture as it was and as the JPEG in the file has
it (quality 85, never lowered here for the sake of bytes), and held against the photo. The dense mesh has two triangles
a pixel, of the photo and of the hidden surfaces alike, with the same texture: what nobody simplified.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import io
import json
import math
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from kinema.systems.photo_3d.atlas import paint
from kinema.systems.photo_3d.camera import Camera
from kinema.systems.photo_3d.charts import make_charts
from kinema.systems.photo_3d.clean import without_unknown
from kinema.systems.photo_3d.depth_measures import motorcycle
from kinema.systems.photo_3d.glb import glb_bytes
from kinema.systems.photo_3d.inpainting import fill, load_inpainting
from kinema.systems.photo_3d.layered import DOWN, RIGHT, LayeredImage
from kinema.systems.photo_3d.lifting import lift
from kinema.systems.photo_3d.mesh import MeshSettings, TexturedMesh, build_mesh
from kinema.systems.photo_3d.rasterise import render
from kinema.systems.photo_3d.viewing import find_view

from measuring import machine

QUALITY = 85


def scene() -> tuple[np.ndarray, np.ndarray, Camera]:
    """The photo, its disparity from 0 to 1, and the camera that took it (its principal point moved to the middle)."""
    photo, truth = motorcycle()
    filled = without_unknown(truth.values + truth.intrinsics.doffs, truth.known)
    low, high = float(filled.min()), float(filled.max())
    focal, baseline = truth.intrinsics.focal, truth.intrinsics.baseline
    camera = Camera(
        photo.shape[1],
        photo.shape[0],
        math.degrees(2 * math.atan(photo.shape[1] / 2 / focal)),
        near=focal * baseline / high,
        far=focal * baseline / low,
    )
    return photo, ((filled - low) / (high - low)).astype(np.float32), camera


def dense_mesh(image: LayeredImage, camera: Camera) -> TexturedMesh:
    """Two triangles for each pixel: its four corners, shared with the pixels that it is linked to."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    chart = make_charts(image)
    atlas = paint(image, chart)
    count = len(image)
    pixel = np.arange(count)
    # Corners of a pixel: 0 upper left, 1 upper right, 2 lower right, 3 lower left.
    ones, others = list[np.ndarray](), list[np.ndarray]()
    for direction, mine, theirs in ((RIGHT, (1, 2), (0, 3)), (DOWN, (3, 2), (0, 1))):
        neighbour = image.neighbours[:, direction]
        here = pixel[neighbour >= 0]
        for a, b in zip(mine, theirs, strict=True):
            ones.append(4 * here + a)
            others.append(4 * neighbour[here].astype(np.int64) + b)
    one, other = np.concatenate(ones), np.concatenate(others)
    graph = coo_matrix((np.ones(len(one), np.bool_), (one, other)), (4 * count, 4 * count))
    number, joined = connected_components(graph, directed=False)
    height = np.bincount(joined, np.repeat(image.disparity, 4)) / np.bincount(joined)
    shown = chart >= 0
    corner = np.arange(4 * count).reshape(count, 4)[shown].reshape(-1)
    of = np.repeat(chart[shown], 4).astype(np.int64)
    _, first, vertex = np.unique(of * number + joined[corner], return_index=True, return_inverse=True)
    corner, of = corner[first], of[first]
    x = image.x[corner // 4] + np.isin(corner % 4, (1, 2))
    y = image.y[corner // 4] + (corner % 4 >= 2)
    quads = vertex.reshape(-1, 4)
    texels = np.stack([x, y], -1) + atlas.offset[of]
    rows, columns = atlas.texels.shape[:2]
    front = image.disparity[: image.width * image.height].reshape(image.height, image.width)
    out = io.BytesIO()
    PIL.Image.fromarray(atlas.texels).save(out, "JPEG", quality=QUALITY, subsampling="4:2:0", optimize=True)
    return TexturedMesh(
        positions=camera.unproject(x, y, height[joined[corner]]).astype(np.float32),
        texcoords=(texels / (columns, rows)).astype(np.float32),
        triangles=np.concatenate([quads[:, [2, 1, 0]], quads[:, [3, 2, 0]]]).astype(np.int32),
        texture=atlas.texels,
        jpeg=out.getvalue(),
        camera=camera,
        median_depth=float(np.median(camera.depth(front))),
        view=find_view(front, camera),
    )


def psnr(mesh: TexturedMesh, photo: np.ndarray) -> tuple[float, float]:
    """Of the rendered capture pose against the photo, in dB, and the share of pixels that the mesh covers."""
    picture, covered = render(mesh)
    error = np.mean((picture.astype(np.float64) - photo) ** 2)
    return 10 * math.log10(255**2 / max(error, 1e-9)), float(covered.mean())


def row(name: str, mesh: TexturedMesh, photo: np.ndarray) -> dict[str, Any]:
    """What a mesh costs and shows."""
    compressed = np.asarray(PIL.Image.open(io.BytesIO(mesh.jpeg)).convert("RGB"))
    before, covered = psnr(mesh, photo)
    after, _ = psnr(dataclasses.replace(mesh, texture=compressed), photo)
    total = len(glb_bytes(mesh))
    return {
        "mesh": name,
        "triangles": len(mesh.triangles),
        "bytes": total,
        "bytes_without_texture": total - len(mesh.jpeg),
        "psnr_db": before,
        "psnr_jpeg_db": after,
        "covered": covered,
    }


def main() -> None:
    """Measure and print the table, and JSON on request."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budgets", type=int, nargs="+", default=[7_000, 10_000, 15_000, 20_000, 40_000])
    parser.add_argument("--inpainting", type=Path, help="colours by this network; default: diffused")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    photo, disparity, camera = scene()
    network = load_inpainting(args.inpainting) if args.inpainting else None
    image = fill(lift(photo, disparity), "network" if network else "diffusion", network)
    rows = []
    for budget in args.budgets:
        settings = MeshSettings(triangles=budget, size=1_000_000_000, quality=QUALITY)
        rows.append(row(f"{budget:,} allowed", build_mesh(image, camera, settings), photo))
    rows.append(row("two a pixel", dense_mesh(image, camera), photo))
    print(f"{shlex.join(sys.argv)}\n{datetime.date.today()}, {machine()}\n")
    print("| mesh | triangles | .glb, bytes | without texture | PSNR, dB | with JPEG, dB | covered |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for r in rows:
        print(
            f"| {r['mesh']} | {r['triangles']:,} | {r['bytes']:,} | {r['bytes_without_texture']:,} |"
            f" {r['psnr_db']:.2f} | {r['psnr_jpeg_db']:.2f} | {r['covered']:.4%} |"
        )
    if args.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
