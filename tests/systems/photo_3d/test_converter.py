"""The wire decoder on files of every wrong kind, the converter's strictness, and the released weights where they lie.

The last ask for the released files, which do not travel with kinema: KINEMA_TIEFENRAUSCH names the folder that holds
`tiefenrausch.pb`, `tiefenrausch_init.pb`, and the official photos and outputs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import kinema
from kinema.errors import UserError
from kinema.media.photo import read_photo
from kinema.systems.photo_3d import converter, official
from kinema.systems.photo_3d.caffe2 import parse_net, read_net
from kinema.systems.photo_3d.depth import load
from kinema.systems.photo_3d.depth_model import Tiefenrausch, TiefenrauschConfig
from kinema.systems.photo_3d.depth_weights import save_depth
from kinema.systems.photo_3d.quantised import ActivationQuantiser, set_mode

STEP = 0.0187440775  # of the released network's output

needs_official = pytest.mark.skipif(
    "KINEMA_TIEFENRAUSCH" not in os.environ,
    reason="KINEMA_TIEFENRAUSCH names no folder with the released files",
)


# -- a writer for the wire format, to read it back --------------------------------------------------------


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: object) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def argument(name: str, value: object) -> bytes:
    if isinstance(value, tuple):
        body = b"".join(field(5 if isinstance(one, float) else 6, one) for one in value)
    else:
        body = field({float: 2, int: 3, bytes: 4}[type(value)], value)
    return field(5, field(1, name) + body)


def operator(kind: str, inputs: list[str], outputs: list[str], **arguments: object) -> bytes:
    ends = b"".join([*(field(1, name) for name in inputs), *(field(2, name) for name in outputs)])
    return field(2, ends + field(4, kind) + b"".join(argument(k, v) for k, v in arguments.items()))


def net(*operators: bytes, inputs: tuple[str, ...] = (), outputs: tuple[str, ...] = ()) -> bytes:
    ends = [*(field(7, name) for name in inputs), *(field(8, name) for name in outputs)]
    return field(1, "a net") + b"".join([*operators, *ends])


def test_what_is_written_is_read():
    given_arguments = {
        "scale": 0.5,
        "point": -3,
        "raw": b"\x00\xff",
        "many": (1, -2, 2**40),
        "reals": (0.25, -1.5),
    }
    data = net(operator("Conv", ["x", "w"], ["y"], **given_arguments), inputs=("x",), outputs=("y",))
    read = parse_net(data)
    assert (read.name, read.inputs, read.outputs) == ("a net", ("x",), ("y",))
    (one,) = read.operators
    assert (one.type, one.inputs, one.outputs, one.arguments) == ("Conv", ("x", "w"), ("y",), given_arguments)


BROKEN = {
    "empty": b"",
    "text": b"no network at all",
    "a length beyond the end": field(2, b"abc")[:-2],
    "a number without end": b"\xff" * 20,
    "a number cut short": b"\x08\xff",
    "an unknown wire type": b"\x0b",
    "a field numbered 0": b"\x02\x00",
    "not UTF-8": field(2, field(4, b"\xff\xfe")),
    "a number for a text": field(1, 7),
    "a number for an operator": field(2, 7),
    "a long float": field(2, field(5, field(1, "a") + field(2, b"12345678"))),
    "no operators": field(1, "a net"),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_broken_files_are_one_sentence(tmp_path, data):
    (tmp_path / "a.pb").write_bytes(data)
    with pytest.raises(UserError, match=r"a\.pb"):
        read_net(tmp_path / "a.pb")


def test_missing_and_huge_files(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="there is no Caffe2 network"):
        read_net(tmp_path / "a.pb")
    monkeypatch.setattr("kinema.systems.photo_3d.caffe2.MAX_BYTES", 3)
    (tmp_path / "a.pb").write_bytes(b"1234")
    with pytest.raises(UserError, match="has 4 bytes"):
        read_net(tmp_path / "a.pb")


@settings(max_examples=80, deadline=None, derandomize=True)
@given(position=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 120) | st.none())
def test_a_flipped_byte_never_gets_further_than_a_value_error(position, value, cut):
    data = bytearray(net(operator("Conv", ["x"], ["y"], a=1.5, b=(1, 2), c=b"raw"), outputs=("y",)))
    data[position % len(data)] = value
    try:
        parse_net(bytes(data[:cut]))
    except ValueError:
        return


# -- the converter, on a file that it would call official -------------------------------------------------


TINY = TiefenrauschConfig(first=2, encoder=(2,) * 5, skip=(2, 2, 2, 3, 3, 3), expansion=(1,) * 6, norm="bias")


def written(network: Tiefenrausch, folder: Path, change: dict[str, object] | None = None) -> None:
    """The two files as their owner wrote them, of random integers; `change` spoils something."""
    change, numbers = change or {}, np.random.default_rng(5)
    flow, graph, filled, blob = converter.dataflow(network), [], [], {"input": "x_int8"}
    span = {"Y_scale": 0.03, "Y_zero_point": 128}
    graph += [operator("NCHW2NHWC", ["x"], ["x_n"]), operator("Int8Quantize", ["x_n"], ["x_int8"], **span)]
    for number, (name, sources) in enumerate(flow.items()):
        blob[name] = f"{number}_int8"
        if len(sources) == 2:
            graph.append(operator("Int8Add", [blob[s] for s in sources], [blob[name]], **span))
            continue
        conv = network.get_submodule(name).conv
        stem = name.split(".")
        if len(stem) == 1:
            key = f"1.{name}.conv"
        else:
            family = converter.FAMILIES.index(stem[0])
            key = f"1.stages.{family}.{stem[1]}.xif7_{stem[2]}.{stem[3]}.conv"
        weight, bias = (
            f"{key}.weight_int8",
            f"{key}.bias_int8" if conv.bias is not None else f"b_zero_{number}",
        )
        out, per_group, rows, columns = conv.weight.shape
        raw = numbers.integers(0, 256, out * per_group * rows * columns, np.uint8).tobytes()
        shape = (out, rows, columns, per_group)
        filled.append(
            operator(
                "Int8GivenTensorFill", [], [weight], shape=shape, values=raw, Y_scale=0.01, Y_zero_point=127
            )
        )
        values = (
            tuple(int(v) for v in numbers.integers(-900, 900, out)) if conv.bias is not None else (0,) * out
        )
        filled.append(
            operator(
                "Int8GivenIntTensorFill",
                [],
                [bias],
                shape=(out,),
                values=values,
                Y_scale=1e-4,
                Y_zero_point=0,
            )
        )
        graph.append(
            operator(
                "Int8Conv", [blob[sources[0]], weight, bias], [blob[name]],
                kernels=(rows, columns), strides=conv.stride, pads=(rows // 2,) * 4, group=conv.groups, **span,
            )
        )  # fmt: skip
        if name.startswith("decoder") and name.endswith("0.pw"):
            graph.append(
                operator(
                    "Int8ResizeNearest", [blob[name]], [f"{blob[name]}_up"], width_scale=2.0, height_scale=2.0
                )
            )
            blob[name] += "_up"
    graph.append(operator("Int8Dequantize", [blob["last"]], ["out"]))
    graph = change.get("graph", lambda steps: steps)(graph)
    filled = change.get("filled", lambda steps: steps)(filled)
    (folder / converter.GRAPH).write_bytes(net(*graph, inputs=("x",), outputs=("out",)))
    (folder / converter.WEIGHTS).write_bytes(net(*filled))


@pytest.fixture
def tiny(monkeypatch) -> Tiefenrausch:
    monkeypatch.setattr(converter, "TiefenrauschConfig", lambda norm: dataclasses.replace(TINY, norm=norm))
    return Tiefenrausch(TINY)


def test_every_weight_and_range_lands_where_it_belongs(tiny, tmp_path):
    written(tiny, tmp_path)
    network, scales = converter.convert(tmp_path)
    numbers = np.random.default_rng(5)
    raw = numbers.integers(0, 256, 2 * 27, np.uint8).reshape(2, 3, 3, 3)
    want = torch.from_numpy((raw.astype(np.float64) - 127) * np.float32(0.01)).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(network.first.conv.weight.detach(), want)
    bias = torch.from_numpy(numbers.integers(-900, 900, 2) * np.float64(np.float32(1e-4))).float()
    torch.testing.assert_close(network.first.conv.bias.detach(), bias)
    assert scales["first.conv.weight"] == (pytest.approx(0.01), 127)
    ranges = [layer for layer in network.modules() if isinstance(layer, ActivationQuantiser)]
    assert len(ranges) == 1 + len(converter.dataflow(tiny))
    assert all(float(layer.low) == pytest.approx(-128 * 0.03) for layer in ranges)
    save_depth(network, tmp_path / "a.safetensors", "uint8", scales)
    again = load(tmp_path / "a.safetensors").network
    assert all(
        torch.equal(a, b)
        for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )


def strange(shape: tuple[int, ...], **scale: object) -> bytes:
    return operator("Int8GivenTensorFill", [], ["z"], shape=shape, values=b"1", **scale)


SCALE = {"Y_scale": 0.1, "Y_zero_point": 0}
SPOILED = {
    "a step is missing": ({"graph": lambda steps: steps[:4] + steps[5:]}, "is not that of Tiefenrausch"),
    "a step is doubled": ({"graph": lambda steps: steps[:4] + steps[3:]}, "is not that of Tiefenrausch"),
    "a strange step": ({"graph": lambda s: [*s[:3], operator("Exec", ["x"], ["y"]), *s[3:]]}, "it has Exec"),
    "cut in the middle": ({"graph": lambda steps: steps[:40]}, "is not that of Tiefenrausch"),
    "a weight is missing": ({"filled": lambda steps: steps[2:]}, "is not in tiefenrausch_init.pb"),
    "a weight is left": (
        {"filled": lambda s: [*s, strange((1,), **SCALE)]},
        "1 weights are not used, such as 'z'",
    ),
    "too few bytes": (
        {"filled": lambda s: [strange((9, 9), **SCALE), *s]},
        "has 1 values and the shape",
    ),
    "a shape beyond reason": (
        {"filled": lambda s: [strange((2**60,), **SCALE), *s]},
        "no sound shape",
    ),
    "no scale": (
        {"filled": lambda s: [strange((1,)), *s]},
        "no sound scale",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "sentence"), SPOILED.values(), ids=SPOILED)
def test_a_graph_that_differs_is_refused(tiny, tmp_path, change, sentence):
    written(tiny, tmp_path, change)
    with pytest.raises(UserError, match=sentence):
        converter.convert(tmp_path)


def test_the_command_line(tiny, tmp_path, capsys):
    written(tiny, tmp_path)
    out = tmp_path / "a.safetensors"
    assert converter.main([str(tmp_path), str(out)]) == 0
    assert out.is_file()
    for arguments, sentence in (
        ([str(tmp_path), str(out)], "exists already"),
        ([str(tmp_path)], "usage: python -m"),
        ([str(tmp_path / "nowhere"), str(tmp_path / "b.safetensors")], "there is no Caffe2 network"),
    ):
        assert converter.main(arguments) == 2
        error = capsys.readouterr().err
        assert sentence in error
        assert error.count("\n") == 1


def test_official_weights_are_fetched_only_when_asked_and_checked(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("KINEMA_HOME", str(tmp_path / "home"))
    with pytest.raises(UserError, match="add --download"):
        kinema.load("photo_3d/tiefenrausch", weights="official")
    written(tiny, tmp_path)
    asked = []

    def fetch(address: str, timeout: float):
        asked.append(address)
        return io.BytesIO((tmp_path / address.rsplit("/", 1)[1]).read_bytes())

    monkeypatch.setattr(official.urllib.request, "urlopen", fetch)
    with pytest.raises(UserError, match="not the released file any more"):
        official.official(download=True)
    assert not official.kept_at().exists()
    sums = {}
    for name in official.FILES:
        data = (tmp_path / name).read_bytes()
        sums[name] = (len(data), hashlib.sha256(data).hexdigest())
    monkeypatch.setattr(official, "FILES", sums)
    asked.clear()
    path = official.official(download=True)
    assert [address.rsplit("/", 1)[1] for address in asked] == list(sums)
    assert all(address.startswith("https://raw.githubusercontent.com/facebookresearch/") for address in asked)
    assert official.official() == path
    assert len(asked) == 2
    assert kinema.load("photo_3d/tiefenrausch", weights="official").network.config == TINY


# -- the released weights ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("released") / "tiefenrausch.safetensors"
    network, scales = converter.convert(os.environ["KINEMA_TIEFENRAUSCH"])
    save_depth(network, path, "uint8", scales)
    return path


def compared(released: Path, name: str, mode: str) -> tuple[np.ndarray, float]:
    """Absolute errors of the log disparity against the official output, and the correlation."""
    folder = Path(os.environ["KINEMA_TIEFENRAUSCH"])
    estimator = load(released)
    set_mode(estimator.network, mode)
    if mode == "round":
        estimator.network.double()  # exact sums: in float32 their order, and so the number of threads, tips some steps
    got = np.log(estimator.small(read_photo(folder / f"{name}.jpg").pixels))
    want = np.log(np.load(folder / f"{name}.npy"))
    assert got.shape == want.shape
    return np.abs(got - want), float(np.corrcoef(got.ravel(), want.ravel())[0, 1])


@needs_official
def test_the_released_file_is_small_and_exact(released):
    assert released.stat().st_size < 3_800_000
    network, _ = converter.convert(os.environ["KINEMA_TIEFENRAUSCH"])
    again = load(released).network
    assert again.config == dataclasses.replace(TiefenrauschConfig(), norm="bias")
    assert all(
        torch.equal(a, b)
        for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )


@needs_official
def test_eight_bits_against_the_official_outputs(released):
    error, _ = compared(released, "columns", "round")
    assert (error < 1.01 * STEP).mean() >= 0.999
    _, correlation = compared(released, "pumpkin", "round")
    assert correlation >= 0.9999


@needs_official
def test_clamping_alone_against_the_official_outputs(released):
    error, correlation = compared(released, "columns", "clamp")
    assert error.mean() <= 0.012
    assert correlation >= 0.999
