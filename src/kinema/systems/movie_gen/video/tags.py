"""Control words that stand before a caption, as in Movie Gen: the frame rate always, the camera when it is known."""

from __future__ import annotations

from collections.abc import Sequence

from kinema.world.captions import caption
from kinema.world.scene import Scene


def tagged(text: str, fps: float, camera: str | None = None) -> str:
    """`FPS-8, pan left: a fox bounces to the right`: what the model reads for a caption."""
    head = f"FPS-{round(fps)}" + (f", {camera}" if camera else "")
    return f"{head}: {text}" if text else head


def training_texts(scenes: Sequence[Scene], indices: Sequence[int]) -> list[str]:
    """Tagged captions: every fourth in the canonical form, every second with the camera's tag."""
    return [
        tagged(caption(s, 0 if i % 4 == 0 else i), s.fps, s.camera if i % 2 == 0 else None)
        for i, s in zip(indices, scenes, strict=True)
    ]
