"""Pictures with words under them, of scenes and of folders, and folders of classes."""

from __future__ import annotations

from itertools import repeat

import pytest
import torch
from PIL import Image

from kinema.data import tagged
from kinema.data.folder import class_files, media_files
from kinema.data.preprocessing import Preprocessing
from kinema.data.tagged import crops, has_tags, scene_pictures, tagged_folder, whole, written_tags
from kinema.errors import UserError
from kinema.world.hashtags import hashtags
from kinema.world.pictures import pictures
from kinema.world.scene import sample_scene


def save(path, size=(40, 20), colour="red"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def test_scenes_are_those_of_their_numbers_however_they_are_asked_for():
    shown = scene_pictures(6, 16)
    want = pictures(range(6), size=16).pixels[:, :, 0]
    found = shown.read([4, 1, 4])
    assert all(torch.equal(picture, want[place]) for picture, place in zip(found, (4, 1, 4), strict=True))
    assert torch.equal(shown.read([1])[0], want[1])
    assert shown.words[3] == hashtags(sample_scene("train", 3))
    part = shown.chosen([5, 2])
    assert (len(part), part.words[1]) == (2, shown.words[2])
    assert torch.equal(part.read([1])[0], want[2])


def test_scenes_are_drawn_again_where_they_do_not_fit(monkeypatch):
    monkeypatch.setattr(tagged, "MEMORY", 3 * 3 * 16 * 16)
    read = tagged.scene_reader("train", 16, None)
    want = pictures(range(6), "train", 16).pixels[:, :, 0]
    for places in ([0, 1, 0], [1, 2, 3], [5, 3, 0, 4]):
        assert torch.equal(torch.stack(read(places)), want[places])


@pytest.mark.parametrize(
    ("captions", "tags"),
    [
        (["A day out. #Dog #city-park, #sunny!"], ["Dog", "city-park", "sunny!"]),
        (["dog, city park; sun"], ["dog", " city park", " sun"]),
        (["dog park"], ["dog", "park"]),
        (["ice cream", "dog", "#sun now"], ["ice cream", "dog", "sun"]),
    ],
)
def test_tags_are_read_in_the_ways_that_people_write_them(captions, tags):
    assert written_tags(captions) == tags


def test_a_folder_with_tags(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "b.png", (3, 400), "blue")
    assert not has_tags(tmp_path, media_files(tmp_path))
    with pytest.raises(UserError):
        tagged_folder(tmp_path, 16)
    (tmp_path / "a.txt").write_text("#fox #snow")
    (tmp_path / "b.json").write_text('{"caption": ["sea", "blue sky"]}')
    assert has_tags(tmp_path, media_files(tmp_path))
    shown = tagged_folder(tmp_path, 16)
    assert shown.words == (("fox", "snow"), ("sea", "blue sky"))
    wide, strip = shown.read([0, 1])
    assert wide.shape == (3, 20, 40)
    assert strip.shape == (3, 128, 20)
    assert strip[:, 5, 5].tolist() == [0, 0, 255]


def test_crops_are_drawn_from_the_generators_alone():
    preprocessing = Preprocessing(size=8)
    shown = list(pictures(range(4), size=16).pixels[:, :, 0])

    def drawn(seed):
        return crops(shown, preprocessing, repeat(torch.Generator().manual_seed(seed)), (0.3, 1.0))

    assert drawn(0).shape == (4, 3, 8, 8)
    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))
    each = crops(shown, preprocessing, [torch.Generator().manual_seed(k) for k in range(4)], (0.3, 1.0))
    last = crops(shown[3:], preprocessing, [torch.Generator().manual_seed(3)], (0.3, 1.0))
    assert torch.equal(each[3:], last)
    with pytest.raises(ValueError, match="1 generators for 4 pictures"):
        crops(shown, preprocessing, [torch.Generator()], (0.3, 1.0))
    assert whole(shown, preprocessing).shape == (4, 3, 8, 8)


def test_a_folder_of_classes(tmp_path):
    save(tmp_path / "cat" / "2.png")
    save(tmp_path / "cat" / "deep" / "1.png")
    (tmp_path / "empty").mkdir()
    save(tmp_path / ".hidden" / "x.png")
    with pytest.raises(UserError, match="1 subfolders with media"):
        class_files(tmp_path)
    save(tmp_path / "ant" / "1.jpg")
    found = class_files(tmp_path)
    assert list(found) == ["ant", "cat"]
    assert [file.name for file in found["cat"]] == ["2.png", "1.png"]
    with pytest.raises(UserError, match="no folder"):
        class_files(tmp_path / "nothing")
