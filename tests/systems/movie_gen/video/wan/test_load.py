"""A whole folder, in both published layouts, at toy widths: from files and words to a clip."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from kinema.cli import app, shell
from kinema.codecs.wan_vae import WanVAE, WanVAEConfig
from kinema.errors import UserError
from kinema.media import Video, read_provenance
from kinema.systems.movie_gen.video.wan import load as load_module
from kinema.systems.movie_gen.video.wan.keys import to_diffusers
from kinema.systems.movie_gen.video.wan.load import load
from kinema.systems.movie_gen.video.wan.model import WanTransformer
from kinema.text.t5 import T5_PRESETS, T5Config, T5Encoder
from kinema.train.blocks import can_compile
from tests.systems.movie_gen.video.wan.conftest import TINY

TEXT = T5Config(
    vocabulary_size=8,
    dim=24,
    depth=1,
    num_heads=2,
    head_dim=8,
    hidden=16,
    max_tokens=16,
    bias_in_every_layer=True,
)
CODEC = WanVAEConfig(latent_channels=4, base_channels=8, latent_mean=(0.0,) * 4, latent_std=(1.0,) * 4)
SETTINGS = {"config": TINY, "text_config": TEXT, "codec_config": CODEC, "precision": "fp32"}


@pytest.fixture
def folders(wan: WanTransformer, tmp_path: Path) -> dict[str, Path]:
    """The same weights in Wan's layout and in that of diffusers."""
    torch.manual_seed(0)
    text = T5Encoder(TEXT).state_dict()
    codec = {
        name: value for name, value in WanVAE(CODEC).state_dict().items() if not name.startswith("spec.")
    }
    words = {word: i for i, word in enumerate(("<pad>", "</s>", "<unk>", "a", "cat", "dog"))}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    wans, theirs = tmp_path / "wan", tmp_path / "diffusers"
    for folder in (
        wans / "google" / "umt5-xxl",
        *(theirs / p for p in ("transformer", "text_encoder", "tokenizer", "vae")),
    ):
        folder.mkdir(parents=True)
    save_file(dict(wan.state_dict()), wans / "diffusion_pytorch_model.safetensors")
    torch.save(text, wans / "models_t5_umt5-xxl-enc-bf16.pth")
    torch.save(codec, wans / "Wan2.1_VAE.pth")
    tokenizer.save(str(wans / "google" / "umt5-xxl" / "tokenizer.json"))
    save_file(to_diffusers(wan.state_dict()), theirs / "transformer" / "diffusion_pytorch_model.safetensors")
    (theirs / "transformer" / "config.json").write_text(json.dumps({"num_attention_heads": 2}))
    save_file(text, theirs / "text_encoder" / "model.safetensors")
    save_file(codec, theirs / "vae" / "diffusion_pytorch_model.safetensors")
    tokenizer.save(str(theirs / "tokenizer" / "tokenizer.json"))
    return {"wan": wans, "diffusers": theirs}


def test_both_layouts_make_the_same_clip(folders: dict[str, Path]) -> None:
    size = {"steps": 2, "height": 16, "width": 32, "num_frames": 5}
    clips = [
        load(folders["wan"], **SETTINGS).generate(["a cat"], seeds=[1], **size)[0].video,
        load(folders["diffusers"], offload="file", **SETTINGS)
        .generate(["a cat"], seeds=[1], **size)[0]
        .video,
    ]
    assert clips[0].frames.shape == (5, 16, 32, 3)
    assert clips[0].frames.std() > 0
    assert np.abs(clips[0].frames.astype(int) - clips[1].frames.astype(int)).max() <= 1
    other = load(folders["wan"], **SETTINGS).generate(["a dog"], seeds=[1], **size)[0].video
    assert (other.frames != clips[0].frames).any()


def test_missing_parts_are_named_before_anything_is_read(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        load(folders["wan"] / "absent")
    (folders["wan"] / "Wan2.1_VAE.pth").rename(folders["wan"] / "vae.pth")
    with pytest.raises(UserError, match="has no codec"):
        load(folders["wan"], **SETTINGS)
    (folders["diffusers"] / "text_encoder" / "model.safetensors").unlink()
    (folders["diffusers"] / "text_encoder").rmdir()
    with pytest.raises(UserError, match="has no text encoder"):
        load(folders["diffusers"], **SETTINGS)
    own = load(folders["diffusers"], text=object(), **SETTINGS)  # states from elsewhere: no encoder is needed
    assert own.transformer.config == TINY


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> Callable[..., tuple[int, str, str]]:
    """The command line, where the published sizes are the toy ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(T5_PRESETS, "umt5-xxl", TEXT)
    read = load_module.read_wan_vae
    monkeypatch.setattr(load_module, "read_wan_vae", lambda path, _: read(path, CODEC))

    def run(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = shell.run(app, [*args, "--device", "cpu"])
        return code, *capsys.readouterr()

    return run


SMALL = ["--seed", "1", "--steps", "3", "--height", "16", "--width", "32", "--num-frames", "5"]


@pytest.mark.parametrize("layout", ["wan", "diffusers"])
def test_from_a_folder_on_the_command_line_to_a_file(folders: dict[str, Path], command, layout: str) -> None:
    weights = ("--model", "wan", "--weights", str(folders[layout]))
    code, out, err = command("generate", "a cat", *weights, *SMALL, "-o", "cat.mp4")
    assert (code, err) == (0, "")
    clip = Video.read("cat.mp4")
    assert clip.frames.shape == (5, 16, 32, 3)
    assert clip.frames.std() > 0
    provenance = read_provenance("cat.mp4")
    assert (provenance.model, provenance.settings["weights"]) == ("wan-2.1", "file")
    code, out, _ = command(
        *("generate", "a cat", *weights, *SMALL, "-o", "again.mp4"),
        *("--offload", "file", "--cache", "0.9", "--measure-cache"),
    )
    assert code == 0
    assert "note: step cache: " in out
    assert "of 3 calls reused, relative error" in out
    assert read_provenance("again.mp4").settings["cache"] == 0.9
    code, out, err = command("rerun", "cat.mp4", "--weights", str(folders[layout]))
    assert code == 0, out + err
    other = folders["wan" if layout == "diffusers" else "diffusers"]
    code, _, err = command("rerun", "cat.mp4", "--weights", str(other), "-o", "b.mp4")
    assert (code, "name the right file" in err) == (2, True)


def test_without_the_folder_it_says_where_the_weights_are(command, tmp_path: Path) -> None:
    for given, words in (
        ((), "https://huggingface.co/Wan-AI/Wan2.1-T2V-1.3B"),
        (("--weights", "official"), "--weights FOLDER"),
        (("--weights", "absent"), "there is no folder 'absent'"),
        (("--weights", str(tmp_path)), "holds no weight files"),
    ):
        code, _, err = command("generate", "a cat", "--model", "wan", *given, "-o", "a.mp4")
        assert (code, err.count("\n")) == (2, 1)
        assert words in err


def test_offloaded_blocks_are_not_compiled(folders: dict[str, Path]) -> None:
    streamed = load(folders["wan"], offload="cpu", **SETTINGS)
    with pytest.raises(UserError, match="cannot be compiled"):
        streamed.compile()


@pytest.mark.slow  # compiles
@pytest.mark.skipif(not can_compile(), reason="no C++ compiler")
def test_compiled_blocks_make_the_same_clip(folders: dict[str, Path]) -> None:
    size = {"steps": 2, "height": 16, "width": 32, "num_frames": 5}
    plain = load(folders["wan"], **SETTINGS).generate(["a cat"], seeds=[1], **size)[0].video
    compiled = load(folders["wan"], **SETTINGS).compile()
    assert compiled.compiled
    clip = compiled.generate(["a cat"], seeds=[1], **size)[0].video
    assert np.abs(plain.frames.astype(int) - clip.frames.astype(int)).max() <= 1
