"""Random SigLIP and SigLIP 2 checkpoints, seeded, with small tokenizers of the kinds that the released ones have."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import sentencepiece
import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

from semscale.producers.captions import sample_prompt
from semscale_bench.random_clip import Shape

GEMMA_SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]  # ids 0 to 3, as released
PROSE = [
    "It's a well-known fact: 50 % of the photos are of cats, dogs and horses.",
    "crème brûlée at a café in São Paulo, naïve art, ½ price",
    "東京の夜景 and a red lighthouse on a cliff above the sea at dusk",
]


def _transformer(width, layers, heads, mlp=None):
    return {
        "hidden_size": width,
        "intermediate_size": mlp or 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }


def _shape(vision, text, *, patch, side, vocabulary):
    return Shape(vision | {"patch_size": patch}, text | {"vocab_size": vocabulary}, text["hidden_size"], side)


_B, _SO400M = _transformer(768, 12, 12), _transformer(1152, 27, 16, 4304)
TINY = _shape(_transformer(64, 2, 4), _transformer(64, 3, 4), patch=16, side=64, vocabulary=2000)
SIGLIP_B_16 = _shape(_B, _B, patch=16, side=224, vocabulary=32_000)
SIGLIP2_B_16 = _shape(_B, _B, patch=16, side=224, vocabulary=256_000)
SIGLIP_SO400M_14_384 = _shape(_SO400M, _SO400M, patch=14, side=384, vocabulary=32_000)


def write_siglip(folder: Path, shape: Shape = TINY, *, seed: int = 0, bytes_for_unknown: bool = False) -> Path:
    """Write a SigLIP as it was released: `spiece.model`, and no tokenizer.json."""
    write_model(folder, shape, seed)
    (folder / "spiece.model").write_bytes(_sentencepiece(bytes_for_unknown))
    settings = {"tokenizer_class": "SiglipTokenizer", "model_max_length": 64, "model_input_names": ["input_ids"]}
    settings |= {"pad_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def write_siglip2(folder: Path, shape: Shape = TINY, *, seed: int = 0, lower: bool = True) -> Path:
    """Write a SigLIP 2 of fixed resolution: a Gemma tokenizer, in tokenizer.json alone."""
    write_model(folder, shape, seed)
    _gemma().save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "GemmaTokenizer", "model_max_length": 64, "model_input_names": ["input_ids"]}
    settings |= {"add_bos_token": False, "add_eos_token": True, "padding_side": "right", "do_lower_case": lower}
    settings |= {f"{name.strip('<>')}_token": name for name in GEMMA_SPECIAL}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def write_model(folder, shape, seed):
    folder.mkdir(parents=True)
    config = SiglipConfig(text_config=shape.text, vision_config=shape.vision | {"image_size": shape.image_size})
    random_siglip(config, seed).save_pretrained(folder)
    SiglipImageProcessor(size={"height": shape.image_size, "width": shape.image_size}).save_pretrained(folder)


def random_siglip(config: SiglipConfig, seed: int) -> SiglipModel:
    """Return a model in which the input outweighs what is the same for every input, or a comparison could not fail.

    Attention is sharpened less in deep models: 27 layers at 3 make 2e-3 of float32's rounding, in transformers alone.
    """
    torch.manual_seed(seed)
    model = SiglipModel(config).eval()
    with torch.no_grad():
        model.vision_model.embeddings.patch_embedding.weight *= 4
        model.text_model.embeddings.token_embedding.weight.normal_(0, 1)
        model.text_model.embeddings.position_embedding.weight.normal_(0, 0.1)
        for encoder in (model.vision_model.encoder, model.text_model.encoder):
            sharper = 3 if len(encoder.layers) <= 12 else 1.5
            for layer in encoder.layers:
                for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    getattr(layer.self_attn, name).weight *= sharper
                    getattr(layer.self_attn, name).bias.normal_(std=0.02)
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.weight.normal_(1, 0.1)
                module.bias.normal_(0, 0.02)
    return model


def sentences() -> list[str]:
    rng = random.Random(0)
    return [*PROSE, *(sample_prompt(rng) for _ in range(500))]


def _sentencepiece(bytes_for_unknown: bool) -> bytes:
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text.lower() for text in sentences()),
        model_writer=out,
        vocab_size=480 if bytes_for_unknown else 220,
        hard_vocab_limit=False,
        model_type="unigram",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        byte_fallback=bytes_for_unknown,
        normalization_rule_name="nmt_nfkc",
        num_threads=1,
        minloglevel=2,
    )
    return out.getvalue()


def _gemma() -> Tokenizer:
    trained = Tokenizer(BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trained.train_from_iterator(
        sentences(), BpeTrainer(vocab_size=600, special_tokens=GEMMA_SPECIAL, show_progress=False)
    )
    model = json.loads(trained.to_str())["model"]
    vocabulary = model["vocab"]
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    made = Tokenizer(
        BPE(vocabulary, [tuple(pair) for pair in model["merges"]], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.add_special_tokens(GEMMA_SPECIAL)
    made.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    return made
