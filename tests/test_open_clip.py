"""open_clip's own checkpoints: equal to CLIP's published equations, and refused by name where they are another model.

The reference is CLIP written out over open_clip's tensor names (Radford et al. 2021, arXiv:2103.00020), for open_clip
itself is not a dependency. It shares no code with transformers.
"""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from copy import deepcopy

import numpy as np
import pytest
import torch
from checkpoints import set_in_json
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPTokenizerFast

import semscale_export
from semscale.encoders import load_spec, open_encoder
from semscale.errors import ModelError
from semscale.model import Preprocess
from semscale.producers.probes import probe_images
from semscale.tokens import Tokenizer
from semscale_bench.random_clip import write_tokenizer
from semscale_export.checkpoint import find_checkpoint
from semscale_export.families import family_of

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
TEXTS = ["a photo of a cat", "", "do cats dance, or do dogs? " * 9, "two <|endoftext|> in one", "x"]
VISION = {"image_size": 48, "patch_size": 16, "width": 60, "layers": 2, "head_width": 20, "mlp_ratio": 2.5}
TEXT = {"context_length": 24, "width": 48, "heads": 4, "layers": 3}
CONFIG = {
    "model_cfg": {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": TEXT},
    "preprocess_cfg": {"mean": list(MEAN), "std": list(STD)},
}
WEIGHTS, SETTINGS = "open_clip_model.safetensors", "open_clip_config.json"


class QuickGelu(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    def __init__(self, width, heads, hidden, activation):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        parts = [("c_fc", nn.Linear(width, hidden)), ("gelu", activation), ("c_proj", nn.Linear(hidden, width))]
        self.mlp = nn.Sequential(OrderedDict(parts))

    def forward(self, x, mask):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, layers, *block):
        super().__init__()
        self.resblocks = nn.ModuleList([Block(*block) for _ in range(layers)])

    def forward(self, x, mask=None):
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Visual(nn.Module):
    def __init__(self, settings, dim, activation):
        super().__init__()
        width, patch = settings["width"], settings["patch_size"]
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.empty((settings["image_size"] // patch) ** 2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        hidden = int(width * settings["mlp_ratio"])
        block = (width, width // settings["head_width"], hidden, activation)
        self.transformer = Transformer(settings["layers"], *block)
        self.proj = nn.Parameter(torch.empty(width, dim))

    def forward(self, pixels):
        x = self.conv1(pixels).flatten(2).mT
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1) + self.positional_embedding
        return self.ln_post(self.transformer(self.ln_pre(x))[:, 0]) @ self.proj


class OpenClip(nn.Module):
    def __init__(self, config, vocabulary):
        super().__init__()
        activation = QuickGelu() if config.get("quick_gelu") else nn.GELU()
        text = config["text_cfg"]
        width, length = text["width"], text["context_length"]
        self.visual = Visual(config["vision_cfg"], config["embed_dim"], activation)
        self.transformer = Transformer(text["layers"], width, text["heads"], 4 * width, activation)
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.empty(length, width))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, config["embed_dim"]))
        self.logit_scale = nn.Parameter(torch.tensor(2.6593))
        self.register_buffer("attn_mask", torch.full((length, length), -torch.inf).triu(1))
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.2)
            elif parameter.ndim == 1:
                nn.init.normal_(parameter, mean=parameter.detach().mean().round().clamp(0, 1).item(), std=0.1)

    def encode_image(self, images):
        pixels = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - _channels(MEAN)) / _channels(STD)
        return self.visual(pixels)

    def encode_text(self, ids):
        x = self.transformer(self.token_embedding(ids) + self.positional_embedding, self.attn_mask)
        return self.ln_final(x)[torch.arange(len(ids)), ids.argmax(dim=-1)] @ self.text_projection


def _channels(values):
    return torch.tensor(values).view(3, 1, 1)


def write_open_clip(folder, **changes):
    """A random checkpoint as open_clip saves it; `changes` go into the object of their name, or into model_cfg."""
    folder.mkdir()
    vocabulary = len(write_tokenizer(folder))
    config = deepcopy(CONFIG)
    config["model_cfg"]["text_cfg"]["vocab_size"] = vocabulary
    torch.manual_seed(0)
    model = OpenClip({**config["model_cfg"], **changes}, vocabulary).eval()
    config["model_cfg"] |= changes
    (folder / SETTINGS).write_text(json.dumps(config))
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)
    return model


def towers(folder):
    checkpoint = find_checkpoint(str(folder))
    return family_of(checkpoint).towers(checkpoint)


def unit(rows):
    return np.float64(rows) / np.linalg.norm(np.float64(rows), axis=1, keepdims=True)


def run(folder, inputs):
    encoder = open_encoder(folder)
    try:
        return encoder.encode(inputs)
    finally:
        encoder.close()


@pytest.fixture(scope="module", params=[False, True], ids=["gelu", "quick-gelu"])
def exported(tmp_path_factory, request):
    """A checkpoint, its reference and its export."""
    folder = tmp_path_factory.mktemp("open-clip") / "checkpoint"
    model = write_open_clip(folder, **({"quick_gelu": True} if request.param else {}))
    semscale_export.export(str(folder), folder.parent / "out")
    return folder, model, folder.parent / "out"


def ids_of(folder):
    """What open_clip's tokenizer gives: the text's ids, cut before the end token, and zeros."""
    encoded = CLIPTokenizerFast.from_pretrained(folder)(TEXTS, truncation=True, max_length=TEXT["context_length"])
    padded = [ids + [0] * (TEXT["context_length"] - len(ids)) for ids in encoded["input_ids"]]
    return torch.tensor(padded)


def test_both_towers_equal_the_published_equations(exported):
    folder, model, out = exported
    images = probe_images(16, shape=(48, 48, 3))
    with torch.inference_mode():
        expected = {"image": model.encode_image(images).numpy(), "text": model.encode_text(ids_of(folder)).numpy()}
    inputs = {"image": images, "text": Tokenizer(out / "text").encode(TEXTS)[0]}
    for tower, rows in expected.items():
        assert (unit(rows) @ unit(rows).T).min() < 0.5  # tells inputs apart, or nothing below could fail
        assert (unit(rows) * run(out / tower, inputs[tower])).sum(axis=1).min() > 1 - 1e-6


def test_the_other_activation_would_be_noticed(exported, tmp_path):
    original, model, out = exported
    folder = shutil.copytree(original, tmp_path / "other")
    other = {"quick_gelu": not isinstance(model.visual.transformer.resblocks[0].mlp.gelu, QuickGelu)}
    set_in_json(folder / SETTINGS, model_cfg=json.loads((folder / SETTINGS).read_text())["model_cfg"] | other)
    images = probe_images(16, shape=(48, 48, 3))
    found = towers(folder)[0].reference(list(images))
    assert (found * run(out / "image", images)).sum(axis=1).min() < 1 - 1e-5


def test_padding_changes_nothing(exported):
    folder, _, out = exported
    ids, _ = Tokenizer(out / "text").encode(TEXTS)
    zeros = ids_of(folder).numpy()
    assert (ids != zeros).any()
    np.testing.assert_allclose(run(out / "text", zeros), run(out / "text", ids), atol=1e-6)


def test_specifications(exported):
    image, text = (load_spec(exported[2] / kind) for kind in ("image", "text"))
    assert image.preprocess == Preprocess(size=48, crop=48, filter="bicubic", mean=MEAN, std=STD)
    assert (image.dim, image.normalized, text.dim, text.tokens.length) == (32, True, 32, 24)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open-clip") / "saved"
    write_open_clip(folder)
    return folder


@pytest.fixture
def changed(saved, tmp_path):
    """A copy of a checkpoint: its folder, its configuration, and the function that writes the configuration back."""
    folder = shutil.copytree(saved, tmp_path / "copy")
    config = json.loads((folder / SETTINGS).read_text())
    return folder, config, lambda: (folder / SETTINGS).write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("section", "setting", "value"),
    [
        ("model_cfg", "custom_text", True),
        ("model_cfg", "multimodal_cfg", {"layers": 2}),
        ("model_cfg", "init_logit_bias", -10),
        ("vision_cfg", "timm_model_name", "vit_base_patch16_224"),
        ("vision_cfg", "layers", [3, 4, 6, 3]),
        ("vision_cfg", "attentional_pool", True),
        ("vision_cfg", "pool_type", "avg"),
        ("vision_cfg", "no_ln_pre", True),
        ("vision_cfg", "final_ln_after_pool", True),
        ("vision_cfg", "ls_init_value", 1e-5),
        ("vision_cfg", "norm_kwargs", {"eps": 1e-6}),
        ("vision_cfg", "pos_embed_type", "sin_cos_2d"),
        ("vision_cfg", "a_setting_of_tomorrow", False),
        ("text_cfg", "hf_model_name", "roberta-base"),
        ("text_cfg", "hf_tokenizer_name", "bert-base-uncased"),
        ("text_cfg", "pool_type", "last"),
        ("text_cfg", "no_causal_mask", True),
        ("text_cfg", "embed_cls", True),
        ("text_cfg", "proj_bias", True),
        ("text_cfg", "act_kwargs", {"approximate": "tanh"}),
        ("preprocess_cfg", "resize_mode", "longest"),
        ("preprocess_cfg", "interpolation", "random"),
        ("preprocess_cfg", "size", 224),
        ("preprocess_cfg", "mode", "L"),
    ],
)
def test_another_model_is_refused_by_the_setting(section, setting, value, changed):
    folder, config, write = changed
    objects = {"model_cfg": config["model_cfg"], "preprocess_cfg": config["preprocess_cfg"], **config["model_cfg"]}
    objects[section][setting] = value
    write()
    with pytest.raises(ModelError, match=rf"open_clip_config\.json has {section}\.{setting} = "):
        towers(folder)


@pytest.mark.parametrize(
    ("section", "setting", "value"),
    [("vision_cfg", "image_size", [48, 32]), ("vision_cfg", "head_width", 0), ("text_cfg", "width", "wide")],
)
def test_sizes_that_make_no_model_are_refused(section, setting, value, changed):
    folder, config, write = changed
    config["model_cfg"][section][setting] = value
    write()
    with pytest.raises(ModelError, match="sizes that make no model"):
        towers(folder)


def test_a_configuration_without_a_model_is_refused(changed):
    folder, config, write = changed
    del config["model_cfg"]
    write()
    with pytest.raises(ModelError, match="model_cfg = None, and semscale needs an object"):
        towers(folder)


def test_settings_of_training_and_an_unrelated_config_json_change_nothing(saved, changed):
    folder, config, write = changed
    config["model_cfg"] |= {"cast_dtype": "fp16", "init_logit_scale": 2.0, "custom_text": False}
    config["model_cfg"]["vision_cfg"] |= {"patch_dropout": 0.5, "pool_type": "tok", "image_size": [48, 48]}
    config["model_cfg"]["text_cfg"] |= {"hf_model_name": None, "pad_id": 0}
    config["preprocess_cfg"] |= {"mean": None, "std": None, "fill_color": 7, "size": [48, 48]}
    write()
    (folder / "config.json").write_text(json.dumps({"architecture": "vit_tiny_clip"}))  # as timm writes it
    for ours, theirs in zip(towers(folder), towers(saved), strict=True):
        assert ours.spec.sha256 == theirs.spec.sha256
        assert (ours.spec.preprocess, ours.spec.tokens) == (theirs.spec.preprocess, theirs.spec.tokens)


def test_squashed_images_and_another_filter(changed):
    folder, config, write = changed
    config["preprocess_cfg"] |= {"resize_mode": "squash", "interpolation": "bilinear", "mean": [0.5] * 3}
    write()
    found = towers(folder)[0].spec.preprocess
    assert (found.geometry, found.size, found.filter, found.mean) == ("stretch", 48, "bilinear", (0.5,) * 3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tensors: tensors.pop("visual.ln_pre.weight"), r"lack 1 tensors, among them visual\.ln_pre\.weight"),
        (lambda tensors: tensors.update({"logit_bias": torch.zeros(1)}), "have.* 1 tensors, among them logit_bias"),
        (lambda tensors: tensors.update({"visual.proj": torch.zeros(60, 31)}), "cannot be loaded.*size mismatch"),
    ],
    ids=["missing", "beyond", "shape"],
)
def test_other_tensors_are_refused(change, reason, changed):
    folder = changed[0]
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(ModelError, match=f"(?s){reason}"):
        towers(folder)


def test_a_configuration_of_fewer_layers_is_refused(changed):
    folder, config, write = changed
    config["model_cfg"]["text_cfg"]["layers"] = 2
    write()
    with pytest.raises(ModelError, match=r"have.* 12 tensors, among them transformer\.resblocks\.2\.attn"):
        towers(folder)


def test_half_precision_weights_are_computed_in_float32(saved, changed):
    folder = changed[0]
    save_file({name: tensor.half() for name, tensor in load_file(folder / WEIGHTS).items()}, folder / WEIGHTS)
    images = list(probe_images(4, shape=(48, 48, 3)))
    half, full = (towers(path)[0] for path in (folder, saved))
    assert {parameter.dtype for parameter in half.module.parameters()} == {torch.float32}
    np.testing.assert_allclose(half.reference(images), full.reference(images), atol=0.01)


@pytest.mark.parametrize("kept", [[], ["vocab.json"]], ids=["none", "without-merges"])
def test_a_missing_tokenizer_is_named(kept, changed):
    folder = changed[0]
    for name in {"vocab.json", "merges.txt"} - set(kept):
        (folder / name).unlink()
    with pytest.raises(ModelError, match=r"Put tokenizer\.json, or vocab\.json and merges\.txt, there"):
        towers(folder)
