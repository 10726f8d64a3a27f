"""The left photo of a real stereo pair, lifted and seen from the right camera, against the real right photo.

    python experiments/photo_3d/novel_view.py --weights tiefenrausch.safetensors

Middlebury's Motorcycle; `motorcycle.py` says which pixels the left photo hides. The same surfaces with six ways to
show what was hidden, and three ways to get depth: the truth, the network of --weights, nano where it is in the package.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinema.errors import UserError
from kinema.eval.fidelity import ssim_map
from kinema.systems.photo_3d import depth, inpainting
from kinema.systems.photo_3d.camera import Camera
from kinema.systems.photo_3d.clean import without_unknown
from kinema.systems.photo_3d.inpainting import Farbrausch, fill
from kinema.systems.photo_3d.layered import LayeredImage, single_layer
from kinema.systems.photo_3d.lifting import LiftSettings, lift
from kinema.systems.photo_3d.mesh import MeshSettings, build_mesh

from motorcycle import Array, Pair, Regions, filled, pair, regions, seen_from_right, warped
from view_reports import arguments, inpainting_network, markdown, strip, write

NAME = "novel_view"
MESH = MeshSettings(
    triangles=60_000, size=10_000_000
)  # more than any arm needs, so that none is simplified away
STEPS = (15, 25, 35, 50, 70, 100, 150)
RIMS = (0, 1, 2, 3, 4, 6)
TAUS = (0.01, 0.02, 0.03, 0.05, 0.08)
BOX = (425, 60, 625, 330)  # of the strip: left, top, right, bottom
SHOWN = {
    "holes": "(a) holes",
    "stretched sheet": "(b) stretched sheet",
    "layers, diffusion": "(c) layers, diffusion",
    "layers, network": "(d) layers, network",
    "screen, network": "(e) screen, network",
}
Rows = dict[str, dict[str, dict[str, float]]]
Shown = tuple[Array, Array]  # a picture (H, W, 3) uint8, and where it is covered (H, W)


def on_screen(shown: Shown, method: Any, network: Farbrausch | None) -> Shown:
    """A picture whose holes are filled in two dimensions: on a single sheet a fill along links is just that."""
    picture, covered = shown
    sheet = single_layer(picture, np.zeros(covered.shape, np.float32))
    image = fill(dataclasses.replace(sheet, known=covered.ravel() > 0), method, network)
    return np.rint(image.colour.reshape(picture.shape) * 255).astype(np.uint8), np.ones_like(covered)


def alone(image: LayeredImage) -> LayeredImage:
    """The photo's own pixels and the links among them, without what was grown behind."""
    count = image.height * image.width
    parts = ("x", "y", "colour", "disparity", "layer", "known")
    own = {name: getattr(image, name)[:count] for name in parts}
    links = image.neighbours[:count]
    return dataclasses.replace(image, **own, neighbours=np.where(links < count, links, -1).astype(np.int32))


def seen(pair: Pair, image: LayeredImage, camera: Camera, settings: MeshSettings = MESH) -> Shown:
    """A layered image as a mesh from the right camera."""
    return pair.render(build_mesh(image, camera, settings))


def views(pair: Pair, disparity: Array, camera: Camera, network: Farbrausch) -> dict[str, Shown]:
    """What each arm shows from the right camera, of the left photo and its disparity in [0, 1]."""
    image = lift(pair.left, disparity)
    holes = seen(pair, alone(image), camera)
    return {
        "holes": holes,
        "stretched sheet": seen(pair, single_layer(pair.left, disparity), camera),
        "layers, diffusion": seen(pair, fill(image, "diffusion"), camera),
        "layers, network": seen(pair, fill(image, "network", network), camera),
        "screen, diffusion": on_screen(holes, "diffusion", None),
        "screen, network": on_screen(holes, "network", network),
    }


def psnr(picture: Array, truth: Array, where: Array) -> float:
    """PSNR in dB over pixels (H, W) bool of 8-bit pictures (H, W, 3)."""
    error = np.square(picture.astype(np.float64) - truth)[where].mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def ssim(picture: Array, truth: Array, where: Array) -> float:
    """Mean of the similarity map at the pixels `where`, as far as the window fits; it looks 5 pixels further."""
    one, two = (torch.from_numpy(p.astype(np.float64)).permute(2, 0, 1) for p in (picture, truth))
    similarity = ssim_map(one, two, data_range=255).mean(0).numpy()
    rim = (truth.shape[0] - similarity.shape[0]) // 2
    return float(similarity[where[rim:-rim, rim:-rim]].mean())


def figures(shown: Shown, truth: Array, areas: Regions) -> dict[str, float]:
    """What is measured of an arm; empty: per cent of the uncovered region that no surface reaches."""
    picture, covered = shown
    return {
        "PSNR": psnr(picture, truth, areas.valid),
        "SSIM": ssim(picture, truth, areas.valid),
        "PSNR uncovered": psnr(picture, truth, areas.uncovered),
        "SSIM uncovered": ssim(picture, truth, areas.uncovered),
        "PSNR seen": psnr(picture, truth, areas.seen),
        "empty, %": float(100 * (covered[areas.uncovered] == 0).mean()),
    }


def reference(pair: Pair, areas: Regions) -> dict[str, Any]:
    """What the two photos have in common where both see: the left one warped by the true disparity alone, no mesh.

    It holds what differs between the photos (gloss, light) and what taking colours between pixels costs; gain and
    offset by channel, fitted, say whether the light was the same.
    """
    disparity = seen_from_right(pair.disparity)
    linear, cubic = (warped(pair.left, disparity, order) for order in (1, 3))
    matched, fits = linear.copy(), []
    for channel in range(3):
        one, two = linear[..., channel][areas.seen], pair.right[..., channel][areas.seen].astype(np.float64)
        gain, offset = np.polyfit(one, two, 1)
        matched[..., channel] = gain * linear[..., channel] + offset
        fits.append(
            {"gain": float(gain), "offset": float(offset), "mean difference": float((two - one).mean())}
        )
    return {
        "PSNR, linear": psnr(linear, pair.right, areas.seen),
        "PSNR, cubic": psnr(cubic, pair.right, areas.seen),
        "PSNR, linear, gain and offset fitted": psnr(matched, pair.right, areas.seen),
        "channels": fits,
    }


def disparities(pair: Pair, weights: Path | None, inside: Path) -> dict[str, tuple[Array, Camera]]:
    """Where depth comes from -> disparity in [0, 1] and the camera that makes it metric.

    A network's is normalised as `kinema photo3d` does it, and the camera takes the line of least squares from it to
    the true disparity.
    """
    low, high = pair.span
    whole = filled(pair.disparity)
    found = {"truth": (((whole - low) / (high - low)).astype(np.float32), pair.camera(low, high))}
    known = np.isfinite(pair.disparity)
    for name, path in (("network of --weights", weights), ("nano", inside if inside.is_file() else None)):
        if path is not None:
            values = depth.load(path).estimate(pair.left).normalised()
            slope, shift = np.polyfit(values[known].astype(float), pair.disparity[known].astype(float), 1)
            if slope <= 0 or shift + pair.intrinsics.doffs <= 0:
                raise UserError(
                    f"'{path.name}' sees nothing of this photo's depth: its best fit is no distance"
                )
            found[name] = values, pair.camera(float(shift), float(shift + slope))
    return found


def ways_to_lift(pair: Pair, areas: Regions, sources: dict[str, tuple[Array, Camera]], quick: bool) -> Rows:
    """What choices in lifting do, filled by diffusion; all with the true depth, but tau with every depth.

    How far hidden surfaces grow, how wide a rim of the photo is no source of colour, what unknown disparities become,
    and from which step in disparity on a surface is torn.
    """

    def row(disparity: Array, camera: Camera, rim: int = inpainting.RIM, **lifting: Any) -> dict[str, float]:
        image = fill(lift(pair.left, disparity, LiftSettings(**lifting)), "diffusion", rim=rim)
        return figures(seen(pair, image, camera), pair.right, areas)

    truth, camera = sources["truth"]
    low, high = pair.span
    farther = without_unknown(pair.disparity, np.isfinite(pair.disparity))
    steps, rims, taus = ((5, 50), (0, 4), (0.05,)) if quick else (STEPS, RIMS, TAUS)
    return {
        "steps of growth": {str(n): row(truth, camera, steps=n) for n in steps},
        "rim": {str(n): row(truth, camera, n) for n in rims},
        "unknown disparities": {
            "nearest": row(truth, camera),
            "farther of the row": row(((farther - low) / (high - low)).astype(np.float32), camera),
        },
    } | {
        f"tau, {source}": {str(tau): row(*each, tau=tau) for tau in taus} for source, each in sources.items()
    }


def main() -> None:
    """The command."""
    given = arguments(__doc__, "weights", "inpainting")
    began = time.process_time()
    motorcycle = pair().smaller(3) if given.quick else pair()
    network = inpainting_network(given)
    areas = regions(motorcycle)
    sources = disparities(motorcycle, given.weights, Path(depth.__file__).with_name("depth_nano.safetensors"))
    arms: dict[str, Any] = {}
    pictures: dict[str, Array] = {}
    for source, (disparity, camera) in sources.items():
        shown = views(motorcycle, disparity, camera, network)
        arms[source] = {arm: figures(each, motorcycle.right, areas) for arm, each in shown.items()}
        pictures = pictures or {SHOWN[arm]: shown[arm][0] for arm in SHOWN}
        print(markdown(source, arms[source]))
    truth = sources["truth"]
    ours = fill(lift(motorcycle.left, truth[0]), "network", network)
    result = {
        "settings": {"steps": LiftSettings().steps, "rim": inpainting.RIM, "tau": LiftSettings().tau},
        "weights": {
            "depth": None if given.weights is None else given.weights.name,
            "inpainting": (given.inpainting or inpainting.WEIGHTS).name,
        },
        "pixels": {name: int(getattr(areas, name).sum()) for name in ("seen", "uncovered", "valid")}
        | {"all": areas.seen.size},
        "reference": reference(motorcycle, areas),
        "arms": arms,
        "order, PSNR uncovered": {
            source: sorted(rows, key=lambda arm: -rows[arm]["PSNR uncovered"])
            for source, rows in arms.items()
        },
        "layers, network, default mesh": figures(
            seen(motorcycle, ours, truth[1], MeshSettings()), motorcycle.right, areas
        ),
        "lifting": ways_to_lift(motorcycle, areas, sources, given.quick),
    }
    write(NAME, given, time.process_time() - began, result)
    box = tuple(side // 3 for side in BOX) if given.quick else BOX
    strip(NAME, given, pictures | {"right photo": motorcycle.right}, box)


if __name__ == "__main__":
    main()
