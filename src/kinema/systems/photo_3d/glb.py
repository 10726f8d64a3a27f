"""glTF 2.0 in one binary file: a header, a description in JSON, and the numbers."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kinema.media.files import write_bytes
from kinema.systems.photo_3d.camera import Array
from kinema.systems.photo_3d.mesh import TexturedMesh
from kinema.systems.photo_3d.viewing import OVERSCAN

FLOAT, USHORT, UINT = 5126, 5123, 5125
_VERTICES, _INDICES = 34962, 34963  # what a buffer view is for
_LINEAR, _LINEAR_MIPMAP_LINEAR, _CLAMP = 9729, 9987, 33071


def write_glb(mesh: TexturedMesh, path: str | Path, overwrite: bool = False) -> None:
    """Write the mesh as .glb, atomically. Raises UserError where the file is there already or cannot be written."""
    write_bytes(Path(path), glb_bytes(mesh), overwrite)


def glb_bytes(mesh: TexturedMesh) -> bytes:
    """The mesh as a .glb: one unlit primitive with one JPEG texture.

    The camera of the photo, and how far one may move, stand in `extras`.
    """
    positions = np.ascontiguousarray(mesh.positions, "<f4")
    texcoords = np.rint(np.clip(mesh.texcoords, 0, 1) * 65535).astype("<u2")
    small = (
        len(positions) <= 1 << 16 and mesh.triangles.max(initial=0) < (1 << 16) - 1
    )  # 65535 restarts a primitive
    indices = mesh.triangles.astype("<u2" if small else "<u4").ravel()
    views, body = list[dict[str, Any]](), bytearray()
    for data, target in (
        (positions, _VERTICES),
        (texcoords, _VERTICES),
        (indices, _INDICES),
        (mesh.jpeg, None),
    ):
        raw = data if isinstance(data, bytes) else data.tobytes()
        view = {"buffer": 0, "byteOffset": len(body), "byteLength": len(raw)}
        views.append(view if target is None else {**view, "target": target})
        body += raw + bytes(-len(raw) % 4)
    text = json.dumps(
        _description(mesh, positions, indices, views, len(body)), separators=(",", ":")
    ).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + len(body)
    return b"".join(
        (
            struct.pack("<4sII", b"glTF", 2, total),
            struct.pack("<I4s", len(text), b"JSON"),
            text,
            struct.pack("<I4s", len(body), b"BIN\0"),
            bytes(body),
        )
    )


def _description(
    mesh: TexturedMesh, positions: Array, indices: Array, views: list[dict[str, Any]], length: int
) -> dict[str, Any]:
    camera = mesh.camera
    extent = {"min": positions.min(0).tolist(), "max": positions.max(0).tolist()}
    index_type = USHORT if indices.itemsize == 2 else UINT
    return {
        "asset": {"version": "2.0", "generator": "kinema"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "photo"}],
        "meshes": [
            {"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2, "material": 0}]}
        ],
        "materials": [
            {
                "name": "photo",
                "doubleSided": True,
                "pbrMetallicRoughness": {
                    "baseColorTexture": {"index": 0},
                    "metallicFactor": 0,
                    "roughnessFactor": 1,
                },
                "extensions": {"KHR_materials_unlit": {}},
            }
        ],
        "textures": [{"source": 0, "sampler": 0}],
        "images": [{"bufferView": 3, "mimeType": "image/jpeg"}],
        "samplers": [
            {"magFilter": _LINEAR, "minFilter": _LINEAR_MIPMAP_LINEAR, "wrapS": _CLAMP, "wrapT": _CLAMP}
        ],
        "accessors": [
            {"bufferView": 0, "componentType": FLOAT, "count": len(positions), "type": "VEC3", **extent},
            {
                "bufferView": 1,
                "componentType": USHORT,
                "normalized": True,
                "count": len(positions),
                "type": "VEC2",
            },
            {"bufferView": 2, "componentType": index_type, "count": len(indices), "type": "SCALAR"},
        ],
        "bufferViews": views,
        "buffers": [{"byteLength": length}],
        "extras": {
            "camera": {
                "width": camera.width,
                "height": camera.height,
                "field_of_view": camera.field_of_view,
                "near": camera.near,
                "far": camera.far,
                "median_depth": mesh.median_depth,
            },
            "view": {**asdict(mesh.view), "overscan": OVERSCAN},
        },
    }
