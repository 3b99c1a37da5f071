"""SigLIP's tokenizer, which transformers has in Python only, as the `tokenizer.json` that the engine reads.

`SiglipTokenizer` lowers the case, takes out ASCII punctuation, joins white space, and then runs SentencePiece. Here the
same steps are a normaliser of the `tokenizers` library before the vocabulary of `spiece.model`. The ids must be equal
on HARD_TEXTS, or nothing is exported.

Known to differ: a text that spells a special token ("</s>", "<unk>", or with capitals); and a ligature or unit
in one character (ﬁ, ㎏) with a combining mark after it is composed here.
"""

from __future__ import annotations

import string
import sys
from importlib.util import find_spec
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, processors
from tokenizers.models import Unigram
from transformers import SiglipTokenizer

from semscale.errors import MissingDependencyError, ModelError
from semscale_export.checkpoint import Checkpoint
from semscale_export.hugging_face import load_part

PACKAGES = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}  # module -> as pip calls it
UNIGRAM = 1  # SentencePiece's number for the model that SigLIP has
NFKC_RULES = ("nfkc", "nmt_nfkc")  # SentencePiece's names of the normalisations that contain NFKC
SPACE = "▁"  # what SentencePiece writes for a space
HARD_TEXTS = (
    "",
    "   ",
    "a photo of a cat",
    "  A PHOTO\tof\n\na Cat!!  ",
    "...",
    ". after a full stop",
    "two  dogs , one cat",
    "it's a well-known (very old) 50 % sale: $9.99!",
    "Crème brûlée, 東京の夜景, a 👩‍🚀 riding a horse — 50 % off",
    "naïve ﬁne ß İstanbul ΣΑΣ ½ Ⅳ ㎏ １２３",
    "spaces\u00a0of\u3000many\u2003kinds\u200band none",
    "a▁written▁space",
    "zero\0byte",
    "word " * 100,
    "x" * 500,
)


def load_siglip_tokenizer(checkpoint: Checkpoint) -> SiglipTokenizer:
    """Return transformers' own tokenizer of a checkpoint that has `spiece.model`.

    Raises ModelError when it cannot be loaded, MissingDependencyError without sentencepiece and protobuf.
    """
    for module, package in PACKAGES.items():
        if not _is_installed(module):
            raise MissingDependencyError(f"the tokenizer of {checkpoint.name} (spiece.model)", package, "export")
    found = load_part(checkpoint, SiglipTokenizer, "the tokenizer's file spiece.model")
    if not isinstance(found, SiglipTokenizer):  # transformers answers False to what is no SentencePiece model
        raise ModelError(f"{checkpoint.name}: spiece.model is not a SentencePiece model; fetch the checkpoint again")
    return found


def convert(checkpoint: Checkpoint, tokenizer: SiglipTokenizer) -> Tokenizer:
    """Return a Tokenizer with the ids of `tokenizer`, the end-of-text token included.

    Raises ModelError, naming the text, when one of HARD_TEXTS gets other ids, and for a vocabulary of another kind.
    """
    from transformers.convert_slow_tokenizer import import_protobuf

    messages: Any = import_protobuf()
    proto = messages.ModelProto.FromString(tokenizer.sp_model.serialized_model_proto())
    if proto.trainer_spec.model_type != UNIGRAM:
        raise ModelError(
            f"{checkpoint.name}: spiece.model is not a unigram model, which SigLIP's tokenizer is; give the checkpoint "
            "the tokenizer it was trained with"
        )
    made = Tokenizer(_unigram(proto))
    made.normalizer = _normaliser(proto.normalizer_spec, lower=tokenizer.do_lower_case)
    made.add_special_tokens(_special_tokens(tokenizer))
    end = (str(tokenizer.eos_token), tokenizer.eos_token_id)
    made.post_processor = processors.TemplateProcessing(single=f"$A {end[0]}", special_tokens=[end])
    _check_ids(checkpoint, tokenizer, made)
    return made


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # its parent is missing, or the module itself is blocked
        return False


def _unigram(proto: Any) -> Unigram:
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    return Unigram(pieces, unk_id=proto.trainer_spec.unk_id, byte_fallback=proto.trainer_spec.byte_fallback)


def _normaliser(spec: Any, *, lower: bool) -> normalizers.Normalizer:
    steps: list[normalizers.Normalizer] = [normalizers.Replace(SPACE, " ")]
    steps += [normalizers.Lowercase()] if lower else []
    steps += [
        normalizers.Replace(Regex(_one_of(string.punctuation)), ""),
        normalizers.Replace(Regex(_one_of(_white_space()) + "+"), " "),
        normalizers.Replace(Regex(r" \z"), ""),
    ]
    if spec.precompiled_charsmap:
        charsmap = normalizers.Precompiled(spec.precompiled_charsmap)
        # Mapped beforehand, because Precompiled drops a combining mark that follows a character which it maps.
        steps.append(normalizers.Prepend(charsmap.normalize_str(SPACE)))
        steps += [normalizers.NFKC(), charsmap] if spec.name in NFKC_RULES else [charsmap]
    else:
        steps.append(normalizers.Prepend(SPACE))
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Replace(Regex(f"[ {SPACE}]+\\z"), "")]
    return normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])


def _one_of(characters: str) -> str:
    return "[" + "".join(f"\\x{{{ord(character):x}}}" for character in characters) + "]"


def _white_space() -> str:
    """What `\\s` matches in Python; in the `tokenizers` library it matches a little less."""
    return "".join(filter(str.isspace, map(chr, range(sys.maxunicode + 1))))


def _special_tokens(tokenizer: SiglipTokenizer) -> list[AddedToken]:
    known = sorted(tokenizer.added_tokens_decoder.items())
    return [
        AddedToken(token.content, lstrip=token.lstrip, rstrip=token.rstrip, normalized=False, special=True)
        for _, token in known
    ]


def _check_ids(checkpoint: Checkpoint, tokenizer: SiglipTokenizer, made: Tokenizer) -> None:
    for text in HARD_TEXTS:
        if tokenizer(text, verbose=False)["input_ids"] != made.encode(text).ids:
            raise ModelError(
                f"{checkpoint.name}: spiece.model cannot be turned into a tokenizer.json with the same ids: those of "
                f"{text[:40]!r} differ. Report this with the model's name and the versions of transformers, "
                "tokenizers and sentencepiece"
            )
