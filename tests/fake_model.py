"""An exported folder for the fake back end: no weights, no heavy imports."""

from pathlib import Path

import tokenizers

from semscale.model import ModelSpec, Preprocess, Tokens

IMAGE = ModelSpec(
    name="fake/model", sha256="0" * 64, kind="image", input_shape=(16, 16, 3), input_dtype="uint8", dim=12,
    normalized=True, precision="fp32", preprocess=Preprocess(16, 16, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
)  # fmt: skip
TEXT = ModelSpec(
    name="fake/model", sha256="0" * 64, kind="text", input_shape=(10,), input_dtype="int64", dim=12,
    normalized=True, precision="fp32", tokens=Tokens(length=10, eos=1, pad=1),
)  # fmt: skip


def write_fake_model(folder: Path) -> Path:
    """Write both towers' specifications and a tokenizer of words."""
    for spec in (IMAGE, TEXT):
        (folder / spec.kind).mkdir(parents=True)
        (folder / spec.kind / "model.json").write_text(spec.to_json())
    words = ["a", "b", "c", "d", "e", "f", "g", "h", "red", "blue", "fox", "cat", "of", "photo"]
    vocabulary = {"<unk>": 0, "<end>": 1, "<start>": 2, **{word: i + 3 for i, word in enumerate(words)}}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 2), ("<end>", 1)]
    )
    tokenizer.save(str(folder / "text" / "tokenizer.json"))
    return folder
