"""The table of models, and weight files of every wrong kind."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

import kinema
from kinema import hub, weights
from kinema.errors import UserError

GOOD = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


def write(path: Path, header: object, body: bytes = b"\0" * 8, length: int | None = None) -> Path:
    """A safetensors file by hand."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(raw) if length is None else length).to_bytes(8, "little") + raw + body)
    return path


@pytest.mark.parametrize("entry", hub.MODELS.values(), ids=lambda entry: entry.name)
def test_every_entry_is_complete(entry):
    assert hub.find(entry.name) is entry
    assert entry.preset in entry.presets
    assert entry.nano_weights is None or entry.nano_weights.endswith(".safetensors")
    facts = hub.describe(entry)
    assert json.loads(json.dumps(facts)) == facts
    for path in filter(None, (entry.builder, entry.recipe, entry.evaluator)):
        module, _, function = path.partition(":")
        assert module.startswith("kinema.")
        assert function.isidentifier()


def test_an_unknown_name_lists_the_closest():
    with pytest.raises(UserError, match=r"no model 'movie-gen-vidoe'; the closest are movie-gen-video-nano"):
        kinema.load("movie-gen-vidoe")
    assert (
        hub.closest("steps", ["lr", "dim", "stop", "step", "epochs"]) == "the closest are step, stop, epochs"
    )


@pytest.mark.parametrize("name", [name for name in hub.MODELS if name.endswith("-nano")])
def test_a_systems_own_name_means_its_smallest_model(name):
    assert hub.find(name.removesuffix("-nano")) is hub.MODELS[name]
    with pytest.raises(UserError, match=f"no model '{name}-nano'"):
        hub.find(f"{name}-nano")


def test_load_hands_path_and_device_to_the_builder(monkeypatch, tmp_path):
    path = write(tmp_path / "mine.safetensors", GOOD)
    monkeypatch.setattr(hub, "resolve", lambda name: lambda *given: (name, *given))
    built = hub.load("movie-gen-video-nano", weights=path, device="cpu")
    assert built == ("kinema.systems.movie_gen.video.pipeline:load", path, "cpu")


def test_official_weights_that_do_not_exist_are_explained():
    with pytest.raises(UserError, match="never published: use weights='nano'"):
        hub.load("movie-gen-video-nano", weights="official")


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cuda:99", "", "cpu;"])
def test_devices_that_are_not_there(device):
    with pytest.raises(UserError):
        hub.resolve_device(device)


def test_auto_takes_a_device_that_is_there():
    assert torch.zeros(1, device=hub.resolve_device("auto")).sum() == 0


BROKEN = {
    "empty": b"",
    "seven bytes": b"1234567",
    "header longer than the file": (100).to_bytes(8, "little") + b"{}",
    "header beyond the limit": (2**40).to_bytes(8, "little") + b"{}",
    "not JSON": (3).to_bytes(8, "little") + b"{a}",
    "not UTF-8": (2).to_bytes(8, "little") + b"\xff\xfe",
    "a list": (2).to_bytes(8, "little") + b"[]",
    "nested without end": (100_000).to_bytes(8, "little") + b"[" * 100_000,
}
WRONG_HEADERS = {
    "unknown type": {"a": {"dtype": "F31", "shape": [2], "data_offsets": [0, 8]}},
    "shape and bytes disagree": {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}},
    "negative shape": {"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}},
    "a shape of text": {"a": {"dtype": "F32", "shape": "2", "data_offsets": [0, 8]}},
    "a hole": {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
    "overlap": {
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
    },
    "beyond the end": {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}},
    "less than the file": {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
    "a path as a name": {"../../etc/x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
    "an unprintable name": {"a\n": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
    "no offsets": {"a": {"dtype": "F32", "shape": [2]}},
    "a number as entry": {"a": 3},
    "metadata of numbers": {"__metadata__": {"a": 1}, **GOOD},
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_broken_files_are_refused(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        weights.read_header(path)


@pytest.mark.parametrize("header", WRONG_HEADERS.values(), ids=WRONG_HEADERS)
def test_wrong_headers_are_refused(tmp_path, header):
    with pytest.raises(UserError, match="is damaged"):
        weights.read_weights(write(tmp_path / "x.safetensors", header))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(position=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 200) | st.none())
def test_a_flipped_byte_never_gets_further_than_a_sentence(tmp_path_factory, position, value, cut):
    path = tmp_path_factory.mktemp("flip") / "x.safetensors"
    save_file({"a": torch.ones(4, 3), "b": torch.ones(2, dtype=torch.int64)}, path, metadata={"m": "n"})
    content = bytearray(path.read_bytes())
    content[position % len(content)] = value
    path.write_bytes(content[:cut])
    try:
        state, _ = weights.read_weights(path)
    except UserError:
        return
    assert sum(tensor.numel() for tensor in state.values()) == 14


def test_a_good_file_reads_back_and_is_named_by_its_hash(tmp_path):
    path = tmp_path / "x.safetensors"
    state = {"a": torch.randn(4, 3), "b": torch.arange(5)}
    save_file(state, path, metadata={"preset": "nano"})
    read, metadata = weights.read_weights(path)
    assert metadata == {"preset": "nano"}
    assert all(torch.equal(read[name], state[name]) for name in state)
    assert weights.read_header(path).num_parameters == 17
    assert weights.weights_hash(path) == hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def test_values_that_are_not_finite_are_refused(tmp_path):
    save_file({"a": torch.tensor([1.0, float("nan")])}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="'a' holds values that are not finite"):
        weights.read_weights(tmp_path / "x.safetensors")


class Payload:
    """A pickle that would write a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def test_a_pickle_with_a_payload_is_refused_and_not_run(tmp_path):
    torch.save({"a": Payload(tmp_path / "pwned")}, tmp_path / "x.pt")
    with pytest.raises(UserError, match="holds more than tensors"):
        weights.read_weights(tmp_path / "x.pt")
    (tmp_path / "y.pt").write_bytes(pickle.dumps(Payload(tmp_path / "pwned")))
    with pytest.raises(UserError):
        weights.read_weights(tmp_path / "y.pt")
    assert not (tmp_path / "pwned").exists()


def test_pytorch_files_of_tensors_are_read(tmp_path):
    state = {"weight": torch.ones(2, 3)}
    torch.save({"state_dict": state}, tmp_path / "x.pth")
    read, metadata = weights.read_weights(tmp_path / "x.pth")
    assert torch.equal(read["weight"], state["weight"])
    assert metadata == {}
    torch.save([1, 2], tmp_path / "y.pt")
    with pytest.raises(UserError, match="not a table of named tensors"):
        weights.read_weights(tmp_path / "y.pt")
    (tmp_path / "z.bin").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(UserError, match="is damaged"):
        weights.read_weights(tmp_path / "z.bin")


def test_loading_is_strict():
    state = {**nn.Linear(3, 2).state_dict(), "extra": torch.ones(1)}
    del state["bias"]
    state["weight"] = torch.ones(2, 4)
    with pytest.raises(UserError) as caught:
        weights.load_strict(nn.Linear(3, 2), state, "x.safetensors")
    sentence = str(caught.value)
    assert "do not fit this Linear: 1 is missing (bias); 1 is unexpected (extra); " in sentence
    assert "1 has another shape (weight is (2, 4) and should be (2, 3))" in sentence


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_loading_sets_every_value(device):
    source = nn.Linear(3, 2)
    with torch.device(device):
        target = nn.Linear(3, 2)
    weights.load_strict(target, source.state_dict(), "x")
    assert all(
        torch.equal(one, other) for one, other in zip(source.parameters(), target.parameters(), strict=True)
    )


@pytest.mark.parametrize("entry", [e for e in hub.MODELS.values() if e.room], ids=lambda entry: entry.name)
def test_the_table_names_every_published_file_of_a_room_and_each_says_where_it_is(entry):
    import importlib

    known = getattr(importlib.import_module(f"kinema.systems.{entry.room}.weights"), "CHECKPOINTS", {})
    more = importlib.import_module("kinema.systems.maws.clip").ADDRESSES if entry.room == "maws" else {}
    assert sorted(entry.published) == sorted([*known, *more])
    for name in entry.published:
        assert hub.located(f"{entry.room}/{name}") == (entry, name)
        with pytest.raises(UserError, match=r"under CC.BY-NC 4\.0 at https://(dl\.fbai|download\.py)"):
            kinema.load(f"{entry.room}/{name}")
    assert hub.located(f"{entry.room}/nano") == (entry, None)
    with pytest.raises(UserError, match=f"no model '{entry.room}/nothing'; the closest"):
        hub.find(f"{entry.room}/nothing")
