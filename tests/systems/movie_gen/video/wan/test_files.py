"""Weight files: both layouts, several files, damage, and blocks that are never in memory all at once."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kinema.errors import UserError
from kinema.systems.movie_gen.video.wan.config import WanConfig
from kinema.systems.movie_gen.video.wan.files import (
    WeightFiles,
    load_transformer,
    save_transformer,
    stays_float32,
)
from kinema.systems.movie_gen.video.wan.keys import to_diffusers
from kinema.systems.movie_gen.video.wan.model import WanTransformer
from tests.parity import assert_parity
from tests.systems.movie_gen.video.wan.conftest import TINY


@pytest.fixture
def official(wan: WanTransformer, tmp_path: Path) -> Path:
    """A folder as Wan publishes it: no settings in the file, config.json beside it."""
    save_file(dict(wan.state_dict()), tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"num_heads": 2, "dim": 40, "model_type": "t2v"}))
    return tmp_path


@pytest.fixture
def for_diffusers(wan: WanTransformer, tmp_path: Path) -> Path:
    """A folder as it is published for diffusers: a folder for the transformer, two shards, an index."""
    folder = tmp_path / "published" / "transformer"
    folder.mkdir(parents=True)
    state = sorted(to_diffusers(wan.state_dict()).items())
    index = {}
    for i, part in enumerate((state[::2], state[1::2])):
        name = f"diffusion_pytorch_model-0000{i + 1}-of-00002.safetensors"
        save_file(dict(part), folder / name)
        index.update({key: name for key, _ in part})
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (folder / "config.json").write_text(json.dumps({"num_attention_heads": 2}))
    return folder.parent


def config_without_length() -> WanConfig:
    """What shapes can tell: the length of the text is 512 in every published model."""
    return WanConfig.from_dict({**TINY.to_dict(), "text_tokens": 512})


@pytest.mark.parametrize("layout", ["official", "for_diffusers"])
@pytest.mark.parametrize("offload", ["none", "cpu", "file"])
def test_every_layout_and_place_gives_the_same_velocity(
    layout: str, offload: str, wan: WanTransformer, make_batch, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(layout)
    assert WeightFiles.find(folder).config == config_without_length()
    loaded = load_transformer(folder, config=TINY, offload=offload)
    batch = make_batch(2)
    with torch.inference_mode():
        expected = wan(batch.latent, batch.t, batch.text)
        assert_parity(loaded(batch.latent, batch.t, batch.text), expected, 1e-6)
        assert_parity(loaded(batch.latent, batch.t, loaded.prepare(batch.text)), expected, 1e-5)
    assert all(p.is_meta == (offload != "none") for p in loaded.blocks.parameters())


def test_one_file_of_our_own_says_how_to_build_it(wan: WanTransformer, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_transformer(wan, path)
    again = load_transformer(path)
    assert again.config == TINY
    for name, value in wan.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    save_transformer(wan, path, torch.float16)
    half = load_transformer(path, dtype=torch.bfloat16)
    for name, value in half.state_dict().items():
        assert value.dtype == (torch.float32 if stays_float32(name) else torch.bfloat16), name
    assert stays_float32("blocks.3.modulation")
    assert stays_float32("blocks.3.self_attn.norm_q.weight")
    assert not stays_float32("blocks.3.self_attn.q.weight")
    assert not stays_float32("head.head.weight")


def test_offloaded_half_precision_equals_half_precision(wan: WanTransformer, make_batch, tmp_path) -> None:
    path = tmp_path / "mine.safetensors"
    save_transformer(wan, path)
    batch = make_batch(2)
    places = ("none", "cpu", "file")
    models = [load_transformer(path, dtype=torch.bfloat16, offload=place) for place in places]
    with torch.inference_mode():
        first, *others = [model(batch.latent, batch.t, batch.text) for model in models]
    for other in others:
        assert torch.equal(first, other)


def test_an_offloaded_model_does_not_train(wan: WanTransformer, make_batch, tmp_path: Path) -> None:
    save_transformer(wan, tmp_path / "mine.safetensors")
    loaded = load_transformer(tmp_path / "mine.safetensors", offload="file")
    batch = make_batch(2)
    with pytest.raises(UserError, match="only generates"):
        loaded(batch.latent, batch.t, batch.text)


def _memory(field: str) -> int:
    return int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024


PEAK = """
import sys
from pathlib import Path
import torch
from kinema.systems.movie_gen.video.wan.files import load_transformer
from kinema.text.states import TextStates

def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(name)))

latent, t = torch.randn(1, 16, 1, 4, 4), torch.rand(1)
text = TextStates(torch.randn(1, 3, 32), torch.ones(1, 3, dtype=torch.bool))
before = memory("VmRSS")
with torch.inference_mode():
    model = load_transformer(Path(sys.argv[1]), offload=sys.argv[2])
    output = model(latent, t, model.prepare(text))
assert output.isfinite().all()
print(memory("VmHWM") - before)
"""


@pytest.mark.slow  # two processes of their own: in this one, memory that was freed before would be used again
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_peak_memory_of_offloaded_blocks_is_far_below_the_whole(tmp_path: Path) -> None:
    config = WanConfig(dim=256, depth=24, num_heads=2, hidden=1024, text_dim=32, text_tokens=8)
    path = tmp_path / "wide.safetensors"
    save_transformer(WanTransformer(config), path)
    whole = path.stat().st_size
    assert whole > 100e6
    peaks = {
        place: int(subprocess.check_output([sys.executable, "-c", PEAK, str(path), place]))
        for place in ("none", "file")
    }
    assert peaks["none"] > 0.9 * whole  # or the measurement sees nothing
    assert peaks["file"] < 0.5 * whole


def test_files_that_do_not_fit_are_named(official: Path, wan: WanTransformer, tmp_path: Path) -> None:
    file = official / "diffusion_pytorch_model.safetensors"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no 'diffusion_pytorch_model\*\.safetensors'"):
        load_transformer(tmp_path / "empty")
    with pytest.raises(UserError, match="there is no weight file and no folder"):
        load_transformer(tmp_path / "absent.safetensors")
    with pytest.raises(UserError, match="offload='disk' is not known"):
        load_transformer(official, offload="disk")
    with pytest.raises(UserError, match=r"head\.head\.weight is \(16, 40\) and should be \(32, 40\)"):
        load_transformer(official, config=WanConfig.from_dict({**TINY.to_dict(), "patch": [1, 2, 4]}))
    state = dict(wan.state_dict())
    save_file({k: v for k, v in state.items() if k != "blocks.0.ffn.0.weight"}, file)
    with pytest.raises(UserError, match=r"lacks 'blocks\.0\.ffn\.0\.weight'"):
        load_transformer(official)
    save_file({**state, "blocks.1.ffn.0.bias": torch.full((72,), torch.nan)}, file)
    for place in ("none", "cpu"):
        with pytest.raises(UserError, match=r"'blocks\.1\.ffn\.0\.bias' holds values that are not finite"):
            load_transformer(official, config=TINY, offload=place)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(UserError, match="damaged"):
        load_transformer(official)


def test_a_tensor_in_two_shards_is_an_error(for_diffusers: Path, wan: WanTransformer) -> None:
    shard = for_diffusers / "transformer" / "diffusion_pytorch_model-00001-of-00002.safetensors"
    save_file(dict(to_diffusers(wan.state_dict())), shard)
    with pytest.raises(UserError, match=r"is in 'diffusion_.*00001.*' and in 'diffusion_.*00002"):
        load_transformer(for_diffusers)
