"""From files to embeddings, classes and reconstructions; weight files that do not fit are one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import kinema
from kinema.data.preprocessing import Preprocessing
from kinema.errors import UserError
from kinema.hub import MODELS
from kinema.media import Image, Video
from kinema.systems.omnimae.model import OmniMAEConfig, autoencoder, classifier
from kinema.systems.omnimae.pipeline import Views, load, squares
from kinema.systems.omnimae.weights import CHECKPOINTS
from kinema.vision import Media, VisionFile, read_media, save_vision
from tests.shaken import shaken

SMALL = OmniMAEConfig(
    dim=32, depth=2, num_heads=2, decoder_dim=32, decoder_depth=1, decoder_heads=2, patch=(2, 8, 8), frames=4,
    image_size=32,
)  # fmt: skip
PREPROCESSING = Preprocessing(size=32)


def about(network: str = "autoencoder", room: str = "omnimae", **more: object) -> VisionFile:
    return VisionFile(
        room=room, network=network, config=SMALL.to_dict(), preprocessing=PREPROCESSING.to_dict(), **more
    )  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(0)
    save_vision(shaken(autoencoder(SMALL)), path, about(facts={"clip_seconds": 2.0}))
    return path


def ramp(frames: int, rows: int = 40, columns: int = 48) -> np.ndarray:
    """Frames that can be told apart: their number is their red."""
    pixels = np.zeros((frames, rows, columns, 3), np.uint8)
    pixels[..., 0] = np.arange(frames)[:, None, None]
    pixels[..., 1] = np.arange(columns) * 5
    return pixels


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    Image(ramp(9)[8]).write(tmp_path / "a.png")
    Video(ramp(9), 8.0).write(tmp_path / "b.mp4")
    return tmp_path / "a.png", tmp_path / "b.mp4"


def test_files_become_vectors_places_and_inner_layers(pretrained: Path, files: tuple[Path, Path]) -> None:
    see = load(pretrained)
    vectors = see.embed(files)
    assert vectors.shape == (2, 32)
    assert torch.isfinite(vectors).all()
    image, clip = (see.prepare(file) for file in files)
    assert image.shape == (1, 3, 32, 32)
    assert clip.shape == (1, 3, 4, 32, 32)
    torch.testing.assert_close(see.features(clip), vectors[1:])
    assert see.dense(image).shape == (1, 32, 4, 4)
    assert see.dense(clip).shape == (1, 32, 2, 4, 4)
    torch.testing.assert_close(see.dense(clip).flatten(2).mean(2), see.features(clip))
    assert see.intermediate(clip, ["encoder.blocks.0"])["encoder.blocks.0"].shape == (1, 32, 32)
    with pytest.raises(UserError, match="have no classifier"):
        see.classify(files[0])
    with pytest.raises(UserError, match=r"nothing passed through 'decoder\.norm'"):
        see.intermediate(image, ["decoder.norm"])


def test_reconstructions_show_what_was_seen_and_what_was_guessed(pretrained: Path, files) -> None:
    see = load(pretrained)
    for file, frames, kept in ((files[0], 1, 2), (files[1], 4, 2)):
        seen = see.reconstruct(file, seed=3)
        assert seen.masked.shape == seen.predicted.shape == seen.original.shape == (frames, 32, 32, 3)
        grey = (seen.masked == 128).all(3)
        assert grey.mean() == pytest.approx(1 - kept / (16 if frames == 1 else 32))
        np.testing.assert_array_equal(seen.predicted[~grey], seen.original[~grey])
        assert (seen.predicted[grey] != seen.original[grey]).any()
        assert seen.error > 0
        assert seen.strips(scale=2, gap=4).shape == (3 * 68 - 4, frames * 68 - 4, 3)
        np.testing.assert_array_equal(seen.masked, see.reconstruct(file, seed=3).masked)
        assert (seen.masked != see.reconstruct(file, seed=4).masked).any()
    assert not (see.reconstruct(files[0], masked=0.0).masked != seen.original[:1]).all()
    with pytest.raises(UserError, match="below 1"):
        see.reconstruct(files[0], masked=1.0)


def test_finetuned_files_classify_their_kind(tmp_path: Path, files: tuple[Path, Path]) -> None:
    torch.manual_seed(0)
    network = shaken(classifier(SMALL, 3))
    for kind in ("image", "video"):
        save_vision(
            network, tmp_path / f"{kind}.safetensors", about("classifier", labels={kind: ["a", "b", "c"]})
        )
    still, moving = (load(tmp_path / f"{kind}.safetensors") for kind in ("image", "video"))
    assert {guess.label for guess in still.classify(files[0])} == {"a", "b", "c"}
    assert still.prepare(files[1]).shape == (8, 3, 32, 32)  # one by one
    assert {guess.label for guess in moving.classify(files[1])} == {"a", "b", "c"}
    assert moving.prepare(files[1]).shape == (1, 3, 4, 32, 32)
    assert len(moving.classify(files[0])) == 3  # odd, and allowed
    with pytest.raises(UserError, match="has no decoder left"):
        moving.reconstruct(files[0])


def test_a_long_clip_is_seen_in_stretches_and_squares() -> None:
    media = Media("video", ramp(40), "clip", fps=8.0)
    views = Views(preprocessing=PREPROCESSING, frames=4, seconds=1.0)
    reds = [stretch[:, 0, 0, 0].tolist() for stretch in views.stretches(media)]
    assert reds == [[0, 2, 4, 7], [8, 10, 12, 15], [16, 18, 20, 23], [24, 26, 28, 31], [32, 34, 36, 39]]
    published = Views(preprocessing=PREPROCESSING, frames=4, seconds=2.7, clips=5, crops=3)
    assert published(media).shape == (15, 3, 4, 32, 32)
    assert published(Media("video", ramp(20), "clip", fps=8.0)).shape[0] == 3  # one stretch is all of it
    assert published(Media("video", ramp(40), "clip")).shape[0] == 3  # no rate: all of it
    left, middle, right = (s[0, 0, :, 1] for s in squares(media.frames, 3))
    assert (left[0], middle[0], right[-1]) == (0, 20, 47 * 5)
    assert squares(ramp(2, 48, 40), 3)[2].shape == (2, 40, 40, 3)


def test_a_short_clip_repeats_its_frames_and_says_so(pretrained: Path, tmp_path: Path) -> None:
    Video(ramp(3), 8.0).write(tmp_path / "short.mp4")
    see = load(pretrained)
    assert see.prepare(tmp_path / "short.mp4").shape == (1, 3, 4, 32, 32)
    assert see.notes(read_media(tmp_path / "short.mp4")) == (
        "the clip has 3 frames, omnimae-nano looks at 4: some repeat",
    )
    views = Views(preprocessing=PREPROCESSING, frames=4)
    assert views.stretches(Media("video", ramp(2), "c", fps=8.0))[0][:, 0, 0, 0].tolist() == [0, 0, 0, 1]


def test_published_files_and_the_table_agree() -> None:
    assert set(MODELS["omnimae-nano"].published) == set(CHECKPOINTS)
    with pytest.raises(UserError, match=r"CC-BY-NC 4\.0 at https://dl\.fbaipublicfiles\.com"):
        kinema.load("omnimae/vit_b_pretrain")
    with pytest.raises(UserError, match="needs weights"):
        load(None)


def test_files_of_another_room_or_size_are_one_sentence(pretrained: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_vision(autoencoder(SMALL), path, about(room="swag"))
    with pytest.raises(UserError, match="network of swag"):
        load(path)
    save_vision(autoencoder(SMALL), path, about("classifier"))
    with pytest.raises(UserError, match="'classifier', which OmniMAE does not have"):
        load(path)
    save_vision(classifier(SMALL, 3), path, about("autoencoder"))
    with pytest.raises(UserError, match="do not fit this MaskedAutoencoder"):
        load(path)
    with pytest.raises(UserError, match="no published layout"):
        kinema.load("omnimae/vit_b_pretrain", weights=pretrained)
