"""Record what the official OmniMAE classes give for weights by formula: `python make_official.py CHECKOUT OUT`.

CHECKOUT is a copy of github.com/facebookresearch/omnivore (CC-BY-NC 4.0) at 1d55abd; nothing of it is kept but numbers.
timm is needed; hydra and the data classes, which its modules import and this does not use, are stood in for.
"""

from __future__ import annotations

import sys
import types
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from tests.codecs.formula import formula_weights, uniform
from tests.parity import shim_torchvision

DIM, DEPTH, HEADS, DECODER, DECODER_DEPTH, DECODER_HEADS = 48, 2, 3, 32, 2, 4
PATCH, FRAMES, SIDE, CLASSES = (2, 8, 8), 4, 32, 5
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def masks(name: str, rows: int, tokens: int, dropped: int) -> torch.Tensor:
    """The same number of True in each row, at places by formula."""
    order = uniform(name, (rows, tokens)).argsort(1)
    return torch.zeros(rows, tokens, dtype=torch.bool).scatter_(1, order[:, :dropped], True)


def filled(network: nn.Module) -> nn.Module:
    """Weights by formula; the positions are computed and stay."""
    state = network.state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items() if not name.endswith("pos_embed")}
    network.load_state_dict({**state, **formula_weights(shapes)})
    return network.eval()


def official(pretraining: bool, vision: types.ModuleType) -> nn.Module:
    attention = partial(
        vision.Attention, attn_drop=0, num_heads=HEADS, proj_drop=0, qk_scale=False, qkv_bias=True
    )
    decoder = partial(
        vision.Decoder, attn_target=partial(vision.Attention, num_heads=DECODER_HEADS), decoder_depth=DECODER_DEPTH,
        decoder_embed_dim=DECODER, learnable_pos_embed=False, qkv_bias=True,
    )  # fmt: skip
    conv = nn.Conv3d(3, DIM, kernel_size=PATCH, stride=PATCH)
    trunk = vision.VisionTransformer(
        img_size=[3, FRAMES, SIDE, SIDE], patch_size=list(PATCH), embed_dim=DIM, depth=DEPTH, attn_target=attention,
        drop_path_rate=0.0, classifier_feature="global_pool", use_cls_token=False, learnable_pos_embed=False,
        patch_embed_type="generic", patch_embed_params_list=[vision.PadIm2Video(2, "repeat"), conv],
        masked_image_modeling=pretraining, patch_dropping=pretraining, decoder=decoder if pretraining else None,
    )  # fmt: skip
    model = nn.Module()
    model.trunk = trunk
    model.head = nn.Linear(DECODER, 3 * 2 * 8 * 8) if pretraining else nn.Linear(DIM, CLASSES)
    return filled(model)


@torch.no_grad()
def main(checkout: Path, out: Path) -> None:
    shim_torchvision()
    sys.path.insert(0, str(checkout))
    hydra, api, losses = (types.ModuleType(n) for n in ("hydra", "omnivision.data.api", "omnivision.losses"))
    api.VisionMaskSample, losses.BaseLoss = object, nn.Module
    losses.__path__ = [str(checkout / "omnivision" / "losses")]
    data = types.ModuleType("omnivision.data")
    data.__path__ = []
    sys.modules |= {m.__name__: m for m in (hydra, data, api, losses)}
    from omnivision.losses.mae_loss import MAELoss
    from omnivision.models import vision_transformer as vision

    recorded: dict[str, torch.Tensor] = {}
    inputs = {
        "image": uniform("image", (2, 3, SIDE, SIDE)).float(),
        "clip": uniform("clip", (2, 3, FRAMES, SIDE, SIDE)).float(),
    }
    pretraining, finetuned = official(True, vision), official(False, vision)
    loss = MAELoss(
        patch_size=list(PATCH), norm_pix_loss=True, norm_pix_per_channel=True, unnormalize_img=(MEAN, STD),
        pad_object=vision.PadIm2Video(2, "repeat"),
    )  # fmt: skip
    for name, x in inputs.items():
        mask = masks(name, 2, 16 if name == "image" else 32, 12 if name == "image" else 28)
        _, features = pretraining.trunk(x, mask=mask)
        prediction = pretraining.head(features)
        recorded[f"{name}.prediction"] = prediction[
            ..., ::11
        ]  # every colour and frame, an eleventh of the numbers
        recorded[f"{name}.loss"] = loss.compute_mae_loss(prediction, mask, x)
        recorded[f"{name}.logits"] = finetuned.head(finetuned.trunk(x))
    larger = uniform("larger", (1, 3, 48, 48)).float()
    recorded["larger.logits"] = finetuned.head(finetuned.trunk(larger))
    recorded["pos_embed"] = pretraining.trunk.pos_embed[0, ::7].clone()
    for network, name in ((pretraining, "pretrain"), (finetuned, "finetuned")):
        for key, value in network.state_dict().items():
            recorded[f"shape.{name}.{key}"] = torch.tensor(value.shape, dtype=torch.int32)
    save_file({k: v.contiguous() for k, v in recorded.items()}, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
