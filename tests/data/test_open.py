"""Folders, shards and tables into samples: what is found, what is refused, and that no path leads out."""

import io
import json
import sys
import tarfile

import PIL.Image
import pytest

from kinema.data import MediaDataset, open_dataset, split_of
from kinema.data.sample import FileSource, Sample
from kinema.errors import UserError


def picture(red=0, form="PNG"):
    out = io.BytesIO()
    PIL.Image.new("RGB", (12, 8), (red, 0, 0)).save(out, form)
    return out.getvalue()


def fill(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def tar(path, members, end=True):
    """A tar with these members in this order; a plain string as content makes a symbolic link."""
    with tarfile.open(path, "w") as out:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                out.addfile(info)
            else:
                info.size = len(content)
                out.addfile(info, io.BytesIO(content))
    return path


def test_a_folder_of_another_kind_is_one_sentence(tmp_path, caplog):
    files = {f"docs/picture{number}.png": picture() for number in range(40)} | {
        "a.png": picture(),
        "a.txt": "a fox",
    }
    with pytest.raises(
        UserError, match=r"40 of 41 clips are broken.*picture0\.png: it has no caption.*and 35 more"
    ):
        open_dataset(fill(tmp_path, files))
    assert not caplog.records
    dataset = open_dataset(tmp_path, max_broken=1.0)
    assert len(dataset.broken) == 40
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "skipped 40 of 41 clips; docs/picture0.png: it has no caption" in caplog.text


def captions(dataset: MediaDataset):
    return {sample.key: sample.captions for sample in dataset.samples}


def jsonl(*rows):
    return "\n".join(json.dumps(row) for row in rows) + "\n"


FOLDERS = {
    "sidecar texts": (
        {
            "a.png": picture(),
            "a.txt": "a fox\n runs ",
            "deep/b.jpg": picture(form="JPEG"),
            "deep/b.txt": "two",
        },
        {"a.png": ("a fox runs",), "deep/b.jpg": ("two",)},
    ),
    "sidecar json": (
        {
            "a.png": picture(),
            "a.json": '{"caption": "x", "group": "g"}',
            "b.png": picture(),
            "b.json": '["y", "z"]',
        },
        {"a.png": ("x",), "b.png": ("y", "z")},
    ),
    "other files do not matter": (
        {
            "a.png": picture(),
            "a.txt": "x",
            ".hidden.png": picture(),
            "README.md": "hi",
            ".git/b.png": picture(),
        },
        {"a.png": ("x",)},
    ),
    "metadata.jsonl": (
        {
            "clips/a.png": picture(),
            "b.png": picture(),
            "metadata.jsonl": "\ufeff"
            + jsonl({"file_name": "clips/a.png", "caption": "x"}, {"file": "b.png", "text": ["y", " "]})
            + "\n",
        },
        {"clips/a.png": ("x",), "b.png": ("y",)},
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders(tmp_path, name):
    files, wanted = FOLDERS[name]
    dataset = open_dataset(fill(tmp_path, files))
    assert captions(dataset) == wanted
    frames, _ = dataset.sample(0, num_frames=1, height=8, width=12, fps=8, seed=0)
    assert frames.shape == (1, 8, 12, 3)


REFUSED = {
    "empty folder": ({}, "no media files"),
    "no captions": ({"a.png": picture(), "b.png": picture()}, "2 media files and no captions"),
    "only texts": ({"a.txt": "x"}, "no media files"),
    "too many without caption": (
        {"a.png": picture(), "a.txt": "x", "b.png": picture()},
        r"1 of 2 clips are broken.*b\.png: it has no caption",
    ),
    "bad json line": (
        {"metadata.jsonl": '{"file_name": "a.png", "caption": "x"}\n{oops\n', "a.png": picture()},
        "line 2",
    ),
    "line is no object": ({"metadata.jsonl": "[1]\n"}, "line 1 is list"),
    "not utf-8": ({"metadata.jsonl": b"\xff\xfe\x00"}, "UTF-8"),
    "no file column": ({"metadata.jsonl": jsonl({"url": "a", "caption": "x"})}, "columns url, caption"),
    "no caption column": (
        {"metadata.jsonl": jsonl({"file": "a.png"}), "a.png": picture()},
        "no caption in metadata",
    ),
    "no rows": ({"metadata.jsonl": "\n"}, "no rows"),
    "missing file": ({"metadata.jsonl": jsonl({"file": "a.png", "caption": "x"})}, "does not exist"),
    "twice": (
        {"metadata.jsonl": jsonl(*[{"file": "a.png", "caption": "x"}] * 2), "a.png": picture()},
        "second time",
    ),
    "climbs out": ({"metadata.jsonl": jsonl({"file": "../a.png", "caption": "x"})}, "leads out"),
    "climbs out later": ({"metadata.jsonl": jsonl({"file": "b/../../a.png", "caption": "x"})}, "leads out"),
    "absolute": ({"metadata.jsonl": jsonl({"file": "/etc/passwd", "caption": "x"})}, "leads out"),
    "drive": ({"metadata.jsonl": jsonl({"file": "C:\\a.png", "caption": "x"})}, "leads out"),
    "backslashes": ({"metadata.jsonl": jsonl({"file": "..\\a.png", "caption": "x"})}, "leads out"),
    "nul": ({"metadata.jsonl": jsonl({"file": "a\0.png", "caption": "x"})}, "leads out"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_folders(tmp_path, name):
    files, says = REFUSED[name]
    (tmp_path / "data").mkdir()
    (tmp_path / "a.png").write_bytes(picture())
    with pytest.raises(UserError, match=says) as caught:
        open_dataset(fill(tmp_path / "data", files))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["sidecar", "table", "folder"])
def test_links_that_lead_out_are_refused(tmp_path, kind):
    fill(tmp_path, {"outside/a.png": picture(), "outside/a.txt": "x"})
    root = tmp_path / "data"
    root.mkdir()
    if kind == "folder":
        (root / "b").symlink_to(tmp_path / "outside")
        (root / "metadata.jsonl").write_text(jsonl({"file": "b/a.png", "caption": "x"}))
    else:
        (root / "a.png").symlink_to(tmp_path / "outside" / "a.png")
        (root / "a.txt").write_text("x")
    if kind == "table":
        (root / "metadata.jsonl").write_text(jsonl({"file": "a.png", "caption": "x"}))
    with pytest.raises(UserError, match="leads out"):
        open_dataset(root)


def test_links_inside_are_fine(tmp_path):
    fill(tmp_path, {"a.png": picture(), "a.txt": "x", "b.txt": "y"})
    (tmp_path / "b.png").symlink_to("a.png")
    assert captions(open_dataset(tmp_path)) == {"a.png": ("x",), "b.png": ("y",)}


# -- shards -----------------------------------------------------------------------------------------------


def test_shards_alone_in_a_folder_and_by_braces(tmp_path):
    tar(tmp_path / "s-00.tar", [("d/1.png", picture(9)), ("d/1.txt", b"one"), ("2.json", b'{"text": "two"}'), ("2.jpg", picture(form="JPEG"))])  # fmt: skip  # noqa: E501
    tar(tmp_path / "s-01.tar", [("1.seg.npy", b"x"), ("1.png", picture()), ("1.txt", b"three")])
    whole = {"s-00/d/1": ("one",), "s-00/2": ("two",), "s-01/1": ("three",)}
    assert captions(open_dataset(tmp_path)) == whole
    assert captions(open_dataset(tmp_path / "s-{00..01}.tar")) == whole
    alone = open_dataset(tmp_path / "s-00.tar")
    assert len(alone) == 2
    frames, text = alone.sample(0, 1, 8, 12, None, 0)
    assert (frames == (9, 0, 0)).all()
    assert text == "one"
    with pytest.raises(UserError, match=r"s-02\.tar does not exist"):
        open_dataset(tmp_path / "s-{00..02}.tar")


def test_shards_of_the_webdataset_library_are_read(tmp_path):
    wds = pytest.importorskip("webdataset")
    with wds.TarWriter(str(tmp_path / "a.tar")) as writer:
        for index in range(3):
            writer.write({"__key__": f"{index:04d}", "png": picture(index), "json": {"caption": f"c{index}"}})
    dataset = open_dataset(tmp_path / "a.tar")
    assert captions(dataset) == {f"a/{index:04d}": (f"c{index}",) for index in range(3)}
    assert [dataset.sample(index, 1, 8, 12)[0][0, 0, 0, 0] for index in range(3)] == [0, 1, 2]


PAIR = [("1.png", picture()), ("1.txt", b"x")]
BAD_SHARDS = {
    "wrong extensions": ([("1.cls", b"3"), ("1.npy", b"x")], "extensions cls, npy"),
    "captions only": ([("1.txt", b"x")], "extensions txt"),
    "pictures only": ([("1.png", picture())], "extensions png"),
    "not contiguous": ([PAIR[0], ("2.png", picture()), PAIR[1], ("2.txt", b"y")], "key 1 in two places"),
    "twice": ([*PAIR, PAIR[1]], "twice"),
    "empty": ([], r"\(none\)"),
    "links": ([("1.png", "/etc/passwd"), ("1.txt", b"x")], "extensions txt"),
}


@pytest.mark.parametrize("name", BAD_SHARDS)
def test_bad_shards(tmp_path, name):
    members, says = BAD_SHARDS[name]
    with pytest.raises(UserError, match=says):
        open_dataset(tar(tmp_path / "a.tar", members))


@pytest.mark.parametrize("cut", [100, 600, 1024, 1100, 2048, 3000])
def test_a_cut_shard_is_refused_wherever_it_was_cut(tmp_path, cut):
    data = tar(
        tmp_path / "a.tar", [("1.txt", b"x"), ("1.png", picture()), ("2.txt", b"y"), ("2.png", picture())]
    )
    (tmp_path / "b.tar").write_bytes(data.read_bytes()[:cut])
    with pytest.raises(UserError, match="cut off"):
        open_dataset(tmp_path / "b.tar")


def test_compressed_shards_and_unknown_files(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w:gz") as out:
        out.addfile(tarfile.TarInfo("1.txt"))
    with pytest.raises(UserError, match="uncompressed"):
        open_dataset(tmp_path / "a.tar")
    with pytest.raises(UserError, match="is no data set"):
        open_dataset(fill(tmp_path, {"a.tgz": b""}) / "a.tgz")
    with pytest.raises(UserError, match="does not exist"):
        open_dataset(tmp_path / "nothing")
    with pytest.raises(UserError, match="upwards"):
        open_dataset(tmp_path / "a-{9..3}.tar")


# -- tables -----------------------------------------------------------------------------------------------


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    fill(tmp_path, {"m/a.png": picture(), "m/b.png": picture()})
    columns = {
        "path": ["m/a.png", "m/b.png"],
        "caption": ["x", "y"],
        "group": ["g", None],
        "score": [1.0, 2.0],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    for path in (tmp_path, tmp_path / "t.parquet"):
        dataset = open_dataset(path)
        assert captions(dataset) == {"m/a.png": ("x",), "m/b.png": ("y",)}
        assert [sample.group for sample in dataset.samples] == ["g", ""]
    parquet.write_table(pyarrow.table({"url": ["a"], "caption": ["x"]}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match="columns url, caption"):
        open_dataset(tmp_path)
    parquet.write_table(pyarrow.table({"path": ["../a.png"], "caption": ["x"]}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match="leads out"):
        open_dataset(tmp_path)
    (tmp_path / "t.parquet").write_bytes(b"PAR1 or not")
    with pytest.raises(UserError, match="no readable parquet"):
        open_dataset(tmp_path)


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"kinema\[data\]"):
        open_dataset(tmp_path)


# -- splits -----------------------------------------------------------------------------------------------


def test_splits_keep_twins_together_and_never_move(tmp_path):
    samples = [Sample(f"{n}.mp4", ("x",), FileSource(tmp_path), group=f"g{n // 3}") for n in range(3000)]
    sides = [split_of(sample, 0.1) for sample in samples]
    assert all(len(set(sides[n : n + 3])) == 1 for n in range(0, 3000, 3))
    assert sides.count("heldout") / 3000 == pytest.approx(0.1, abs=0.03)
    larger = [split_of(sample, 0.3) for sample in samples]
    assert all(after == "heldout" for before, after in zip(sides, larger) if before == "heldout")
    by_hand = {split_of(sample, 0.5, group=lambda s: "one") for sample in samples}
    assert len(by_hand) == 1
    assert {split_of(sample, 0.0) for sample in samples} == {"train"}
    dataset = MediaDataset(samples)
    train, heldout = dataset.split("train", 0.1), dataset.split("heldout", 0.1)
    assert len(train) + len(heldout) == 3000
    assert not {s.group for s in train.samples} & {s.group for s in heldout.samples}
    with pytest.raises(UserError, match="heldout part"):
        dataset.split("heldout", 0.0)
    with pytest.raises(UserError, match="0 to 1"):
        split_of(samples[0], 1.5)
