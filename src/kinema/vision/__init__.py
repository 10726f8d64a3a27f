"""What every system that sees has in common once its network is built: files in, classes and embeddings out."""

from __future__ import annotations

from kinema.vision.files import VisionFile, read_vision, save_vision
from kinema.vision.media import Kind, Media, read_media
from kinema.vision.pipeline import Guess, Vision

__all__ = ["Guess", "Kind", "Media", "Vision", "VisionFile", "read_media", "read_vision", "save_vision"]
