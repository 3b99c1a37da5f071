"""A small tree in the layout of the published study, with everything that is odd about it."""

import io

from images import png
from PIL import Image

EYE = "a high-contrast black and white photograph of a person's eye"
CAT = "a portrait painting of a cat wearing a tuxedo and top hat"
BIRD = "a close-up photograph of a hummingbird feeding on a bright red flower"
PROMPTS = (CAT, EYE)
MONET = (f"{BIRD} in the style of Monet",)
TOK = (f"{BIRD} in the style of TOK",)
SEEDS = (892834, 318110, 724172, 272217)  # of which three are expected


def jpeg(seed):
    """The bytes of a small JPEG."""
    out = io.BytesIO()
    Image.open(io.BytesIO(png(seed))).save(out, "JPEG")
    return out.getvalue()


def put(root, name, seed=0):
    """Write one image."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg(seed))


def write_study_tree(root):
    """SDXL lacks an apostrophe, has a fourth seed once, and holds the Monet and TOK prompts, one of them reworded."""
    folders = {
        f"SDXL/{CAT}": SEEDS,
        f"SDXL/{EYE.replace(chr(39), '_')}": SEEDS[:3],
        f"SDXL/{MONET[0]}": SEEDS[:3],
        f"SDXL/{TOK[0].replace('a close-up photograph', 'close-up drawing')}": SEEDS[:3],
        f"pixart/{CAT}": SEEDS[:3],
        f"pixart/{EYE.replace(chr(39), '_')}": SEEDS[:2],
    }
    number = 0
    for folder, seeds in folders.items():
        for seed in seeds:
            put(root, f"{folder}/{seed}.jpg", number)
            number += 1
    (root / "README.md").write_text("the study")
    return root


def write_lists(folder):
    """prompts.txt, monet.txt, tok.txt and seeds.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (("prompts", PROMPTS), ("monet", MONET), ("tok", TOK), ("seeds", SEEDS)):
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder
