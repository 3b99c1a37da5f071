"""Images of diffusion models: one noise for one seed, in every model and any batch."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_pipelines import KINDS
from tiny_producers import opened

from semscale.errors import InputError, UsageError
from semscale.producers.diffusion import noise
from semscale.producers.generation import generate
from semscale.producers.request import Blend, Request, Setting

EDITORS = ("pix2pix", "sdxl-pix2pix", "img2img")
SEEDS = (3, 2**63 - 1, 0, 7)
SMALL = {"flux": 64, "flux-schnell": 64}  # whose pipeline draws 1024 where nobody says


def photo(size, seed):
    """An RGB image of a size (width, height), of random pixels."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8))


def asked(kind, seeds=SEEDS, **given):
    """Requests that differ in all they can, and a setting of two steps."""
    source = [photo((64, 64), i) if kind in EDITORS else None for i in range(len(seeds))]
    prompts = ("tench", "umbrella", "goldfish", "tench") if kind == "dit" else ("a cat", "an owl", "", "a red ☂")
    requests = [Request(p, s, source=i) for p, s, i in zip(prompts, seeds, source, strict=False)]
    side = SMALL.get(kind)
    return requests, Setting(**{"steps": 2, "width": side, "height": side, **given})


def drawn(producer, requests, setting, batch_size):
    producer.batch_size = batch_size
    return np.stack([np.asarray(image).astype(int) for image in producer.generate(requests, setting)])


EVERY_KIND = [  # some with a scheduler that adds noise at every step, which comes from the seed too
    ("sd", {}),  # its own scheduler remembers earlier steps
    ("sd", {"scheduler": "EulerAncestralDiscreteScheduler"}),
    ("sd2", {"scheduler": "DDPMScheduler", "guidance": 1.0}),
    ("sdxl", {}),
    ("sd3", {}),
    ("pixart-alpha", {}),
    ("pixart-sigma", {"scheduler": "EulerAncestralDiscreteScheduler"}),
    ("flux", {}),
    ("flux-schnell", {}),
    ("pix2pix", {"scheduler": "DDPMScheduler"}),
    ("sdxl-pix2pix", {}),
    ("img2img", {"scheduler": "EulerAncestralDiscreteScheduler"}),
    ("dit", {"scheduler": "DDPMScheduler", "guidance": 1.0}),  # its pipeline hands no generators on
    ("dit", {"scheduler": "DDPMScheduler", "guidance": 5.0}),  # and steps each image twice
]
assert {kind for kind, _ in EVERY_KIND} == set(KINDS)


@pytest.mark.parametrize(("kind", "given"), EVERY_KIND)
def test_an_image_depends_on_its_seed_and_not_on_its_batch(kind, given):
    requests, setting = asked(kind, seeds=SEEDS[:3], **given)
    together = drawn(opened(kind), requests, setting, 3)
    torch.manual_seed(99)
    alone = drawn(opened(kind), requests[::-1], setting, 1)[::-1]
    assert together.shape == (3, *(2 * [32 if kind == "dit" else 64]), 3)
    np.testing.assert_allclose(together, alone, atol=1)  # products of matrices add up in another order
    assert np.abs(together[0] - together[2]).mean() > 5


@pytest.fixture
def starts(monkeypatch):
    """What denoising networks are given first, of each batch: the scaled initial noise, without the doubling."""
    seen = []

    def watch(producer, requests, setting, batch_size=4):
        seen.clear()
        pipeline = producer._adapters.makes.pipeline
        network = getattr(pipeline, "unet", None) or pipeline.transformer

        def note(module, positional, named):
            given = named["hidden_states"] if "hidden_states" in named else positional[0]
            seen.append(given.detach().clone())

        hook = network.register_forward_pre_hook(note, with_kwargs=True)
        producer.batch_size = batch_size
        producer.generate(requests, setting)
        hook.remove()
        return seen[0]

    return watch


def test_one_seed_is_one_noise_in_every_model_of_that_latent_shape(starts):
    seeds = [Request("a cat", seed) for seed in SEEDS[:3]]
    ddim = Setting(steps=2, scheduler="DDIMScheduler", guidance=1.0)
    in_sd = starts(opened("sd"), seeds, ddim)
    assert in_sd.shape == (3, 4, 8, 8)
    for kind in ("sd2", "sdxl", "pixart-alpha", "pixart-sigma"):
        assert torch.equal(starts(opened(kind), seeds, ddim), in_sd), kind
    for i, seed in enumerate(SEEDS[:3]):
        expected = torch.randn((4, 8, 8), generator=torch.Generator("cpu").manual_seed(seed))
        assert torch.equal(in_sd[i], expected)


def test_one_seed_is_one_noise_in_any_batch_and_order(starts):
    ddim = Setting(steps=2, scheduler="DDIMScheduler", guidance=1.0)
    requests = [Request("a cat", seed) for seed in SEEDS]
    together = starts(opened("sd"), requests, ddim)
    assert torch.equal(starts(opened("sd"), requests[::-1], ddim), together.flip(0))
    assert torch.equal(starts(opened("sd"), requests[2:], ddim, batch_size=1), together[2:3])


def test_flux_and_stable_diffusion_3_start_from_the_same_noise(starts):
    requests = [Request("a cat", seed) for seed in SEEDS[:2]]
    size = {"width": 64, "height": 64}
    in_sd3 = starts(opened("sd3"), requests, Setting(steps=2, guidance=1.0, **size))
    in_flux = starts(opened("flux"), requests, Setting(steps=2, **size))
    unpacked = in_flux.view(2, 4, 4, 16, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(2, 16, 8, 8)
    assert torch.equal(unpacked, in_sd3)


def test_a_class_starts_from_the_noise_of_its_seed(starts):
    requests = [Request("tench", seed) for seed in SEEDS[:2]]
    begun = starts(opened("dit"), requests, Setting(steps=2, guidance=4.0))
    for i, seed in enumerate(SEEDS[:2]):
        expected = torch.randn((4, 4, 4), generator=torch.Generator("cpu").manual_seed(seed))
        assert torch.equal(begun[i], expected) and torch.equal(begun[i + 2], expected)


@pytest.mark.parametrize("kind", ["sd", "flux", "pix2pix", "dit"])
def test_a_blend_leads_from_one_noise_to_the_other(kind):
    requests, setting = asked(kind, seeds=(3, 3, 3))
    one = requests[0]
    ends = [
        Request(one.prompt, 3, source=one.source, blend=Blend(8, 0.0)),
        Request(one.prompt, 3, source=one.source, blend=Blend(8, 1.0)),
        Request(one.prompt, 3, source=one.source, blend=Blend(8, 0.5)),
        one,
        Request(one.prompt, 8, source=one.source),
    ]
    if kind == "pix2pix":  # whose scheduler draws more, always from the request's own seed
        setting = Setting(steps=2, scheduler="DDIMScheduler")
    start, end, middle, first, last = drawn(opened(kind), ends, setting, 5)
    np.testing.assert_allclose(start, first, atol=1)
    np.testing.assert_allclose(end, last, atol=1)
    assert np.abs(middle - first).mean() > 3 and np.abs(middle - last).mean() > 3


def test_blended_noise_is_as_long_as_noise():
    one, other = (torch.randn((4, 64, 64), generator=torch.Generator().manual_seed(i)) for i in (1, 2))
    middle = noise.along_sphere(one, other, 0.5)
    assert float(middle.norm()) == pytest.approx(float((one.norm() + other.norm()) / 2), rel=0.02)
    assert float((one + other).norm() / 2) < 0.75 * float(one.norm())  # which is why a mean would not do
    assert torch.equal(noise.along_sphere(one, one, 0.5), one)


def test_noise_that_no_seed_decides_is_refused():
    producer = opened("sd3")
    own = producer._adapters.makes.schedulers._own
    own.register_to_config(stochastic_sampling=True)  # this scheduler then draws from the global generator
    try:
        with pytest.raises(UsageError, match="FlowMatchEulerDiscreteScheduler draws noise that no seed decides"):
            producer.generate(*asked("sd3"))
    finally:
        own.register_to_config(stochastic_sampling=False)


def test_edits_of_sources_of_several_sizes_keep_their_order_and_size():
    producer = opened("pix2pix")
    sizes = [(64, 64), (70, 40), (64, 64), (40, 70)]
    requests = [Request("paint it", i, source=photo((w, h), i)) for i, (w, h) in enumerate(sizes)]
    producer.batch_size = 4
    images = producer.generate(requests, Setting(steps=2))
    assert [image.size for image in images] == [(64, 64), (64, 40), (64, 64), (40, 64)]
    resized = producer.generate(requests[1:2], Setting(steps=2, width=32, height=48))
    assert resized[0].size == (32, 48)


def test_image_to_image_of_a_text_model_keeps_more_of_its_source_at_a_lower_strength():
    source = photo((64, 64), 1)
    for kind in ("sd", "sdxl", "sd3"):
        (weak,), (strong,) = (
            opened(kind).generate([Request("a cat", 1, source=source)], Setting(steps=5, strength=strength))
            for strength in (0.2, 1.0)
        )
        assert weak.size == strong.size == (64, 64)
        assert np.abs(np.asarray(weak).astype(int) - np.asarray(strong)).mean() > 5, kind


def test_a_negative_prompt_changes_an_image_and_may_be_missing_beside_it():
    producer = opened("sdxl")
    requests = [Request("a cat", 1), Request("a cat", 1, negative="a dog"), Request("a cat", 1)]
    one, other, again = drawn(producer, requests, Setting(steps=2), 3)
    np.testing.assert_allclose(one, again, atol=1)
    assert np.abs(one - other).max() > 1


def test_an_image_that_overflowed_fails_alone_and_is_not_black(monkeypatch, tmp_path):
    producer = opened("sd")
    producer.batch_size = 3

    def draw(requests, setting):
        return np.stack([np.full((8, 8, 3), np.nan if request.seed == 5 else 0.5) for request in requests])

    monkeypatch.setattr(producer._adapters.makes, "draw", draw)
    with pytest.raises(InputError) as caught:
        producer.generate([Request("a cat", 4), Request("a cat", 5)], Setting(steps=2))
    assert caught.value.code == "not-finite"
    done = generate(producer, ["a cat"], seeds=[4, 5, 6, 7], out=tmp_path)
    assert (done.n_made, done.n_failed) == (3, 1)
    [failed] = map(json.loads, (tmp_path / "failures.jsonl").read_text().splitlines())
    assert (failed["seed"], failed["error"]) == (5, "InputError")
    assert "'a cat', seed 5: the model's output is not finite" in failed["reason"]


def test_a_full_gpu_halves_the_batch(monkeypatch):
    producer = opened("sd")
    adapter, sizes = producer._adapters.makes, []

    def draw(requests, setting):
        sizes.append(len(requests))
        if len(requests) > room:
            raise torch.cuda.OutOfMemoryError
        return np.stack([np.full((8, 8, 3), request.seed / 255, np.float32) for request in requests])

    monkeypatch.setattr(adapter, "draw", draw)
    producer.batch_size, room = 8, 2
    images = producer.generate([Request("a cat", seed) for seed in range(9)], Setting(steps=2))
    assert [image.getpixel((0, 0))[0] for image in images] == list(range(9))
    assert sizes == [8, 4, 2, 2, 2, 2, 1] and producer.batch_size == 2
    room = 0
    with pytest.raises(UsageError, match="does not fit in the GPU's memory"):
        producer.generate([Request("a cat", 1)], Setting(steps=2))
