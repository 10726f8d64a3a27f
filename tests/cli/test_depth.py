"""`kinema depth`: files that read back, folders, and one sentence for everything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from kinema import model_table
from kinema.media import Image
from kinema.media.depth import Depth


@pytest.fixture
def weights(tmp_path_factory) -> str:
    import torch

    from kinema.systems.photo_3d.depth_model import Tiefenrausch, TiefenrauschConfig, fold_norms
    from kinema.systems.photo_3d.depth_weights import save_depth

    torch.manual_seed(0)
    config = TiefenrauschConfig(first=8, encoder=(8,) * 5, skip=(8,) * 6, expansion=(1,) * 6, repeats=1)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_depth(fold_norms(Tiefenrausch(config).eval()), path)
    return str(path)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def photo(name="a.jpg", height=48, width=64, **options) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(name, **options)
    return Path(name)


@pytest.mark.parametrize(
    ("words", "file"),
    [
        ([], "a_depth.png"),
        (["--format", "exr"], "a_depth.exr"),
        (["-o", "b.npy"], "b.npy"),
        (["--small"], "a_depth.png"),
    ],
)
def test_a_photo_becomes_depth_that_says_what_it_is(kinema, weights, words, file):
    photo()
    document = kinema("depth", "a.jpg", "--weights", weights, "--json", *words).document
    (made,) = document["made"]
    assert (made["file"], made["kind"], made["large_is"]) == (file, "relative_disparity", "near")
    depth = Depth.read(file)
    assert depth.values.shape == ((288, 384) if "--small" in words else (48, 64))
    assert depth.metadata["kinema"].model == "photo-3d-depth-nano"


def test_a_preview_is_a_picture(kinema, weights):
    photo("a.png")
    answer = kinema("depth", "a.png", "--weights", weights, "--format", "preview", "-o", "b.png")
    assert (answer.code, answer.out.startswith("wrote b.png (64x48, ")) == (0, True)
    assert Image.read("b.png").pixels.shape == (48, 64, 3)


def test_a_folder_goes_beside_itself_and_a_bad_photo_stops_nothing(kinema, weights):
    Path("in").mkdir()
    for name in ("a.jpg", "a.png", "b.png"):
        photo(f"in/{name}")
    Path("in/c.png").write_bytes(b"text")
    answer = kinema("depth", "in", "--weights", weights)
    assert answer.code == 1
    assert sorted(path.name for path in Path("in_depth").iterdir()) == [
        "a_jpg_depth.png", "a_png_depth.png", "b_depth.png",
    ]  # fmt: skip
    assert answer.err.startswith("kinema: in/c.png is not a media file by its content")
    assert answer.err.count("\n") == 1
    before = {path: path.read_bytes() for path in Path("in_depth").iterdir()}
    again = kinema("depth", "in", "--weights", weights)
    assert (again.code, "pass --overwrite" in again.err) == (2, True)
    assert before == {path: path.read_bytes() for path in Path("in_depth").iterdir()}
    Path("in/c.png").unlink()
    assert kinema("depth", "in", "--weights", weights, "--overwrite").code == 0


def test_odd_photos_are_handled_and_told(kinema, weights):
    tags = PIL.Image.Exif()
    tags[0x0112] = 6
    photo("turned.jpg", exif=tags)
    PIL.Image.fromarray(np.full((40, 50), 40_000, np.uint16)).save("deep.png")
    for name, note in (("turned.jpg", "upright"), ("deep.png", "16 bits")):
        assert note in kinema("depth", name, "--weights", weights).out
    assert Depth.read("turned_depth.png").values.shape == (64, 48)


def refusals() -> list[tuple[list[str], str]]:
    photo()
    photo("dot.png", 1, 1)
    photo("long.png", 20, 100)
    Path("empty").mkdir()
    Path("cut.jpg").write_bytes(photo("whole.jpg", 200, 200).read_bytes()[:3000])
    Path("there_depth.png").write_bytes(photo("there.png").read_bytes())
    return [
        (["nowhere.jpg"], "nowhere.jpg does not exist"),
        (["empty"], "holds no photos"),
        (["dot.png"], "16 or more on each side"),
        (["long.png"], "a panorama"),
        (["cut.jpg"], "is cut off or damaged"),
        (["there.png"], "pass --overwrite"),
        (["a.jpg", "-o", "a.jpg", "--overwrite"], "ends in .png"),
        (["there.png", "-o", "there.png", "--overwrite"], "is the photo itself"),
        (["a.jpg", "-o", "b.png", "--format", "exr"], "ends in .exr"),
        (["a.jpg", "--format", "jpeg"], "--format is 'jpeg' and must be"),
        (["a.jpg", "--download"], "give --weights official with it"),
        (["a.jpg", "--device", "tpu"], "is not a device"),
    ]


def test_what_is_wrong_is_one_sentence_and_nothing_is_written(kinema, weights):
    rows = refusals()
    before = {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    for words, sentence in rows:
        more = [] if "--download" in words else ["--weights", weights]
        answer = kinema("depth", *words, *more)
        assert (answer.code, answer.out) == (2, ""), words
        assert sentence in answer.err
        assert (answer.err.startswith("kinema: "), answer.err.count("\n")) == (True, 1)
    assert before == {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}


def test_without_weights_it_says_how_to_get_some(kinema, monkeypatch, tmp_path):
    photo()
    monkeypatch.setattr(model_table, "PACKAGE", tmp_path)
    monkeypatch.setenv("KINEMA_HOME", str(tmp_path / "home"))
    answer = kinema("depth", "a.jpg")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "use --weights official --download to fetch" in answer.err
    assert "kinema train photo-3d-depth-nano" in answer.err
    assert "add --download" in kinema("depth", "a.jpg", "--weights", "official").err
    Path("other.safetensors").write_bytes(b"1234")
    assert "is damaged" in kinema("depth", "a.jpg", "--weights", "other.safetensors").err


def test_the_network_is_written_as_onnx(weights, kinema):
    pytest.importorskip("onnx")
    answer = kinema("depth", "--export", "net.onnx", "--weights", weights)
    assert (answer.code, answer.out.startswith("wrote net.onnx (")) == (0, True)
    assert Path("net.onnx").stat().st_size > 1000
    again = kinema("depth", "--export", "net.onnx", "--weights", weights)
    assert (again.code, "--overwrite" in again.err) == (2, True)


def test_exports_that_cannot_be_are_a_sentence(weights, kinema):
    for arguments, words in (
        (("depth", "a.jpg", "--export", "net.onnx"), "leave the photo out"),
        (("depth", "a.jpg", "--int8"), "--export FILE.onnx"),
        (("depth", "--export", "net.png", "--weights", weights), ".onnx"),
        (("depth",), "no photo"),
    ):
        answer = kinema(*arguments)
        assert answer.code == 2
        assert words in answer.err
