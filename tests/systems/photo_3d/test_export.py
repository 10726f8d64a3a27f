"""ONNX: the same numbers as PyTorch at any size, in float and in eight bits, and a file that explains itself."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from kinema.errors import UserError
from kinema.systems.photo_3d.depth_model import Tiefenrausch, TiefenrauschConfig, fold_norms
from kinema.systems.photo_3d.export import export_onnx
from kinema.systems.photo_3d.quantised import calibrate, set_mode

TINY = TiefenrauschConfig(first=8, encoder=(8,) * 5, skip=(8,) * 6, expansion=(1, 1, 2, 2, 2, 2), repeats=2)
SIZES = ((64, 96), (32, 64))


def network(ranges: bool) -> Tiefenrausch:
    torch.manual_seed(0)
    made = Tiefenrausch(TINY)
    torch.nn.init.normal_(made.last.conv.weight, std=0.2)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
    folded = fold_norms(made.eval())
    if ranges:
        calibrate(folded, [torch.rand(2, 3, 64, 96)])
    return folded


def test_a_missing_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"pip install kinema\[export\]"):
        export_onnx(network(ranges=False), tmp_path / "a.onnx")


def test_eight_bits_need_ranges(tmp_path):
    pytest.importorskip("onnx")
    with pytest.raises(UserError, match="export it as float"):
        export_onnx(network(ranges=False), tmp_path / "a.onnx", "int8")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ranges", [False, True])
def test_the_exported_network_is_that_of_pytorch_at_any_size(ranges, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    made = network(ranges)
    if ranges:
        set_mode(made, "clamp")
        for layer in made.modules():  # so tight that it matters
            if hasattr(layer, "high"):
                layer.high.mul_(0.7)
    export_onnx(made, tmp_path / "a.onnx", long_side=96)
    session = runtime.InferenceSession(str(tmp_path / "a.onnx"))
    for height, width in SIZES:
        photo = torch.rand(1, 3, height, width)
        got = session.run(None, {"photo": photo.numpy()})[0]
        np.testing.assert_allclose(got, made.disparity(photo).numpy(), rtol=1e-4, atol=1e-4)
    facts = session.get_modelmeta().custom_metadata_map
    assert (facts["output_kind"], facts["output_sign"]) == ("relative_disparity", "large is near")
    assert "from 0 to 1" in facts["input"]
    assert "trained for 96" in facts["input_size"]


def test_eight_bits_are_those_of_pytorch(tmp_path):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    made = network(ranges=True)
    export_onnx(made, tmp_path / "a.onnx", "int8")
    graph = onnx.load(tmp_path / "a.onnx").graph
    stored = {one.name: one.data_type for one in graph.initializer}
    convs = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convs) == sum(isinstance(layer, torch.nn.Conv2d) for layer in made.modules())
    assert all(stored[f"{node.output[0]}_weight_bytes"] == onnx.TensorProto.INT8 for node in convs)
    assert not any(node.op_type == "Clip" for node in graph.node)
    session = runtime.InferenceSession(str(tmp_path / "a.onnx"))
    step = float((made.last.quantiser.high - made.last.quantiser.low) / 255)
    for height, width in SIZES:  # the bias is whole there and a value that falls to the other side travels on
        photo = torch.rand(1, 3, height, width)
        got = np.log(session.run(None, {"photo": photo.numpy()})[0])
        want = made.disparity(photo).log().numpy()
        assert np.abs(got - want).mean() < 2 * step
        assert np.corrcoef(got.ravel(), want.ravel())[0, 1] > 0.99
