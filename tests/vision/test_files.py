"""Weight files, indices and embeddings: what is written reads back, and anything else is one sentence."""

from __future__ import annotations

import csv
import os

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from kinema.errors import UserError
from kinema.vision.embeddings import write_embeddings
from kinema.vision.files import KEY, VisionFile, fill, is_vision_file, read_vision, save_vision
from kinema.vision.index import Index, index_folder, read_index
from tests.vision.tiny import picture, tiny

ABOUT = VisionFile(
    room="swag", network="vit", config={"dim": 4}, preprocessing={"size": 8}, labels={"image": ["a"]}
)


def test_a_network_comes_back_with_all_that_belongs_to_it(tmp_path):
    network, path = nn.Linear(3, 2), tmp_path / "a.safetensors"
    save_vision(network, path, ABOUT)
    state, about = read_vision(path, "swag")
    assert about == ABOUT
    assert is_vision_file(path)
    other = fill(nn.Linear(3, 2), state, path)
    torch.testing.assert_close(other.weight, network.weight, atol=1e-3, rtol=1e-3)
    with safe_open(path, "pt") as file:
        assert file.get_tensor("weight").dtype == torch.float16


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_vision(nn.Linear(3, 2), path, ABOUT)
    with pytest.raises(UserError, match="a network of swag, and one of maws"):
        read_vision(path, "maws")
    with pytest.raises(UserError, match="do not fit"):
        fill(nn.Linear(4, 2), read_vision(path, "swag")[0], path)
    for metadata in ({}, {KEY: "no json"}, {KEY: "[]"}, {KEY: '{"schema": 1}'}, {KEY: '{"schema": 9}'}):
        save_file({"x": torch.zeros(1)}, tmp_path / "b.safetensors", metadata=metadata)
        with pytest.raises(UserError):
            read_vision(tmp_path / "b.safetensors", "swag")
    assert not is_vision_file(tmp_path / "nothing.safetensors")


def test_an_index_is_computed_once_and_only_where_files_changed(tmp_path, monkeypatch):
    folder = tmp_path / "in"
    folder.mkdir()
    red, blue = picture(folder / "a.png"), picture(folder / "b.png", (0, 0, 255))
    see, asked = tiny(), []
    own = see.embed
    monkeypatch.setattr(see, "embed", lambda files: asked.extend(files) or own(files))
    index, failed = index_folder(see, folder)
    assert (index.names, failed, asked) == (("a.png", "b.png"), {}, [red, blue])
    index.write(tmp_path / "index.safetensors")
    known = read_index(tmp_path / "index.safetensors")
    assert torch.equal(known.features, index.features)
    asked.clear()
    picture(blue, (0, 255, 0))
    os.utime(blue, ns=(1, 1))
    (folder / "c.png").write_text("damaged")
    again, failed = index_folder(see, folder, known)
    assert asked == [blue, folder / "c.png"]
    assert list(failed) == ["c.png"]
    torch.testing.assert_close(again.features, torch.tensor([[1.0, 0, 0], [0, 1, 0]]))
    see.weights_hash = "other weights"
    asked.clear()
    index_folder(see, folder, again)
    assert len(asked) == 3


def test_files_that_are_no_index(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"features": torch.zeros(2, 3)}, path)
    with pytest.raises(UserError, match="no index of pictures"):
        read_index(path)
    Index("m", "h", ("a",), ((1, 2),), torch.zeros(2, 3)).write(path)
    with pytest.raises(UserError, match="no index of pictures"):
        read_index(path)


@pytest.mark.parametrize("suffix", ["npz", "npy", "csv", "safetensors"])
def test_embeddings_read_back_with_other_programs(tmp_path, suffix):
    path, rows = tmp_path / f"e.{suffix}", [torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0])]
    write_embeddings(path, ["a.png", 'b",.png'], rows, {"model": "tiny"}, normalise=True)
    want = np.array([[0.6, 0.8], [0.0, 1.0]], np.float32)
    match suffix:
        case "npz":
            found = np.load(path, allow_pickle=False)
            assert found["names"].tolist() == ["a.png", 'b",.png']
            table = found["features"]
        case "npy":
            table = np.load(path)
        case "csv":
            with path.open(newline="") as file:
                read = list(csv.reader(file))
            assert read[2][0] == 'b",.png'
            table = np.array([row[1:] for row in read[1:]], np.float32)
        case _:
            with safe_open(path, "np") as file:
                table = file.get_tensor("features")
                assert "a.png" in file.metadata()["kinema.embeddings"]
    np.testing.assert_allclose(table, want, atol=1e-6)
    with pytest.raises((UserError, FileExistsError)):
        write_embeddings(path, ["a"], rows[:1], {})


def test_dense_vectors_keep_their_shapes(tmp_path):
    maps = [torch.zeros(4, 2, 3), torch.zeros(4, 5, 1)]
    write_embeddings(tmp_path / "d.npz", ["a", "b"], maps, {})
    found = np.load(tmp_path / "d.npz")
    assert found["1"].shape == (4, 5, 1)
    with pytest.raises(UserError, match="several sizes"):
        write_embeddings(tmp_path / "d.csv", ["a", "b"], maps, {})
