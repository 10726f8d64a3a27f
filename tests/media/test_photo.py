"""The door for photos: odd files upright or refused, folders, and the lens."""

from __future__ import annotations

import math
import zlib

import numpy as np
import PIL.Image
import pytest

from kinema.errors import UserError
from kinema.media import Image
from kinema.media.photo import photos_in, read_photo


def pixels(height=24, width=32):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def save(path, height=24, width=32, **options):
    PIL.Image.fromarray(pixels(height, width)).save(path, **options)
    return path


def exif(orientation=1, film=None):
    tags = PIL.Image.Exif()
    tags[0x0112] = orientation
    if film is not None:
        tags.get_ifd(0x8769)[0xA405] = film
    return tags


@pytest.mark.parametrize(
    ("film", "height", "want"), [(28, 24, 63.44), (28, 64, 38.12), (0, 24, None), (None, 24, None)]
)
def test_the_lens_gives_the_horizontal_field_of_view(tmp_path, film, height, want):
    photo = read_photo(save(tmp_path / "a.jpg", height=height, exif=exif(film=film)))
    if want is None:
        assert photo.field_of_view is None
        return
    across = math.hypot(36, 24) * 32 / math.hypot(height, 32)  # the diagonal is what is equal
    assert photo.field_of_view == pytest.approx(math.degrees(2 * math.atan(across / 56)))
    assert photo.field_of_view == pytest.approx(want, abs=0.01)


def test_a_turned_photo_stands_upright_and_is_seen_so_by_the_lens(tmp_path):
    photo = read_photo(save(tmp_path / "a.jpg", exif=exif(6, 28)))
    assert (photo.height, photo.width, photo.name) == (32, 24, "a.jpg")
    assert "upright" in photo.notes[0]
    assert photo.field_of_view == pytest.approx(
        math.degrees(2 * math.atan(math.hypot(36, 24) * 24 / 40 / 56))
    )


def huge(path):
    """A PNG of a few bytes that claims 100 megapixels and one more row."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    size = (10_000).to_bytes(4, "big") + (10_001).to_bytes(4, "big")
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + bytes([8, 2, 0, 0, 0]))
    path.write_bytes(head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b""))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda p: save(p, 1, 1), "has 1x1 pixels, and a photo has 16 or more"),
        (lambda p: save(p, 16, 65), "is 65x16, a panorama"),
        (lambda p: save(p, 65, 16), "is 16x65, a panorama"),
        (huge, "10000x10001 pixels and at most 100000000 are decoded"),
        (lambda p: p.write_bytes(b"text"), "not a media file by its content"),
        (lambda p: p.write_bytes(b""), "is empty"),
        (lambda p: p.write_bytes(save(p, 200, 200).read_bytes()[:9000]), "is cut off or damaged"),
        (lambda p: p.mkdir(), "is not a regular file"),
        (lambda p: None, "does not exist"),
    ],
)
def test_what_is_no_photo_is_one_sentence(tmp_path, make, sentence):
    make(tmp_path / "a.png")
    with pytest.raises(UserError) as caught:
        read_photo(tmp_path / "a.png")
    assert sentence in str(caught.value)


def test_the_limits_themselves_are_taken(tmp_path):
    assert read_photo(save(tmp_path / "a.png", 16, 64)).width == 64
    assert read_photo(save(tmp_path / "b.png", 64, 16)).height == 64


def test_what_kinema_made_keeps_its_provenance(tmp_path):
    from kinema.media import Provenance

    Image(pixels(), {"kinema": Provenance(prompt="a fox")}).write(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png").provenance.prompt == "a fox"


def test_a_folder_gives_its_photos_in_order(tmp_path):
    for name in ("b.JPG", "a.png", ".hidden.png"):
        save(tmp_path / name, format="PNG")
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "c.png").mkdir()
    assert [path.name for path in photos_in(tmp_path)] == ["a.png", "b.JPG"]
    assert photos_in(tmp_path / "a.png") == [tmp_path / "a.png"]
    with pytest.raises(UserError, match="holds no photos"):
        photos_in(tmp_path / "c.png")
