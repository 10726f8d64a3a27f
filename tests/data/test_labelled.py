"""Real labelled pictures from files in the layout of their packages; the packages themselves where they are here."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch
from PIL import Image

from kinema.data import labelled
from kinema.data.labelled import LabelledPictures, fashion_mnist, found, majority, stamps
from kinema.errors import UserError


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """Two packages of a few pictures."""
    folder = tmp_path / "usr" / "share" / labelled.FASHION
    folder.mkdir(parents=True)
    pixels = np.arange(6 * 784, dtype=np.uint32).astype(np.uint8)
    for stem, count in (("train", 6), ("t10k", 3)):
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(
            gzip.compress(bytes(16) + pixels[: count * 784].tobytes())
        )
        labels = bytes(range(count))
        (folder / f"{stem}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + labels))
    for group in labelled.STAMP_GROUPS:
        place = tmp_path / "usr" / "share" / labelled.STAMPS / group / "inner"
        place.mkdir(parents=True)
        Image.new("RGBA", (40, 20), (255, 0, 0, 0)).save(place / "clear.png")
        Image.new("RGBA", (20, 40), (0, 0, 255, 255)).save(place / "blue.png")
    monkeypatch.setenv("KINEMA_DATA", str(tmp_path))
    return tmp_path


def test_clothes_stand_in_a_frame_of_black(shelf):
    train, test = fashion_mnist(), fashion_mnist("test", 2)
    assert train.pixels.shape == (6, 3, 32, 32)
    assert test.labels.tolist() == [0, 1]
    want = torch.arange(784).to(torch.uint8).view(28, 28)
    assert torch.equal(train.pixels[0, 1, 2:30, 2:30], want)
    assert train.pixels[:, :, :2].sum() == 0


def test_stamps_lie_on_white_and_fill_the_square(shelf):
    found_stamps = stamps(16)
    assert found_stamps.pixels.shape == (20, 3, 16, 16)
    assert torch.bincount(found_stamps.labels).tolist() == [2] * 10
    blue, clear = found_stamps.pixels[0], found_stamps.pixels[1]
    assert torch.equal(clear, torch.full_like(clear, 255))
    assert blue[:, 8, 8].tolist() == [0, 0, 255]
    assert blue[:, 8, 0].tolist() == [255, 255, 255]


def test_halves_have_every_class_and_nothing_twice():
    pictures = LabelledPictures(
        torch.arange(30, dtype=torch.uint8).view(30, 1, 1, 1).expand(30, 3, 2, 2),
        torch.arange(30) % 3,
        ("a", "b", "c"),
    )
    one, other = pictures.halves(seed=0)
    assert torch.bincount(one.labels).tolist() == torch.bincount(other.labels).tolist() == [5, 5, 5]
    seen = torch.cat([one.pixels[:, 0, 0, 0], other.pixels[:, 0, 0, 0]])
    assert sorted(seen.tolist()) == list(range(30))
    assert majority(torch.tensor([0, 1, 1, 1])) == 0.75


def test_what_is_not_here_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(labelled, "ROOTS", (tmp_path,))
    monkeypatch.delenv("KINEMA_DATA", raising=False)
    assert found(labelled.FASHION) is None
    for read in (fashion_mnist, stamps):
        with pytest.raises(UserError, match="install Debian's package"):
            read()


def test_a_broken_package_is_one_sentence(shelf):
    (shelf / "usr/share" / labelled.FASHION / "train-images-idx3-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(UserError, match="cannot be read: install"):
        fashion_mnist()


@pytest.mark.skipif(
    found(labelled.STAMPS) is None, reason="Debian's tuxpaint-stamps-default is not installed"
)
def test_the_real_stamps():
    real = stamps(32)
    assert len(real) == 276
    assert torch.bincount(real.labels).min() >= 11
