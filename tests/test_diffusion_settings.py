"""Settings of diffusion models: defaults filled in so that they can be recorded, and what a model cannot do refused."""

import pytest
from PIL import Image
from tiny_producers import opened

from semscale.errors import UsageError
from semscale.producers.request import Blend, Request, Setting

EDITORS = ("pix2pix", "img2img")


def check(producer, *, edits=False, **given):
    return producer.check(Setting(**given), edits=edits)


DEFAULTS = [  # what each pipeline's call has in diffusers
    ("sd", Setting(50, 7.5, None, None, "PNDMScheduler", 64, 64)),
    ("sdxl", Setting(50, 5.0, None, None, "EulerDiscreteScheduler", 64, 64)),
    ("sd3", Setting(28, 7.0, None, None, "FlowMatchEulerDiscreteScheduler", 64, 64)),
    ("pixart-alpha", Setting(20, 4.5, None, None, "DPMSolverMultistepScheduler", 64, 64)),
    ("flux", Setting(28, 3.5, None, None, "FlowMatchEulerDiscreteScheduler", 1024, 1024)),
    ("flux-schnell", Setting(28, None, None, None, "FlowMatchEulerDiscreteScheduler", 1024, 1024)),
    ("pix2pix", Setting(100, 7.5, 1.5, None, "EulerAncestralDiscreteScheduler", None, None)),
    ("img2img", Setting(50, 7.5, None, 0.8, "DDIMScheduler", None, None)),
    ("dit", Setting(50, 4.0, None, None, "DDIMScheduler", 32, 32)),
]


@pytest.mark.parametrize(("kind", "expected"), DEFAULTS, ids=[kind for kind, _ in DEFAULTS])
def test_defaults_are_filled_in_and_stay_when_checked_again(kind, expected):
    producer, edits = opened(kind), kind in EDITORS
    assert producer.check(Setting(), edits=edits) == expected
    assert producer.check(expected, edits=edits) == expected


def test_a_text_model_redraws_sources_too_and_pixart_does_not():
    assert check(opened("sd"), edits=True).strength == 0.8
    assert check(opened("sdxl"), edits=True).strength == 0.3
    with pytest.raises(UsageError, match="pixart-alpha cannot edit images"):
        check(opened("pixart-alpha"), edits=True)
    with pytest.raises(UsageError, match="pix2pix edits images and makes none without a source"):
        check(opened("pix2pix"))


REFUSED = [
    ("sd", {"steps": 0}, "0 steps; this model takes from 1 to 1000"),
    ("sd", {"steps": 1001}, "1001 steps"),
    ("sd", {"guidance": float("nan")}, "a guidance of nan"),
    ("sd", {"guidance": -1.0}, "a guidance of -1; it must be at least 0"),
    ("sd", {"image_guidance": 1.5}, "sd takes no image guidance: it draws from text"),
    ("sd", {"strength": 0.5}, "sd takes no strength"),
    ("sd", {"width": 65}, "a width of 65 pixels; this model draws multiples of 8, the nearest is 64"),
    ("sd", {"height": 0}, "a height of 0 pixels; .* the nearest is 8"),
    ("sd3", {"width": 72}, "multiples of 16, the nearest is 64"),
    ("sd3", {"width": 256}, "sd3 draws at most 128"),
    ("flux", {"height": 1000}, "multiples of 16, the nearest is 992"),
    ("pixart-alpha", {"width": 72}, "multiples of 16"),
    (
        "sd",
        {"scheduler": "EulerDiscretScheduler"},
        "did you mean 'EulerDiscreteScheduler'. choose from PNDMScheduler, DDIM",
    ),
    ("sd", {"scheduler": "DPMSolverSDEScheduler"}, "unknown scheduler 'DPMSolverSDEScheduler'"),
    ("sd", {"scheduler": "EDMEulerScheduler"}, "unknown scheduler"),  # another parametrisation: it would draw noise
    ("sd3", {"scheduler": "DDIMScheduler"}, "choose from FlowMatchEulerDiscreteScheduler$"),
    ("dit", {"scheduler": "EulerDiscreteScheduler"}, "unknown scheduler"),  # the pipeline does not scale its input
    ("dit", {"width": 64, "height": 64}, "dit draws 32 x 32 pixels and no other size"),
    ("dit", {"strength": 0.5}, "dit takes no strength"),
    ("flux-schnell", {"guidance": 3.5}, "flux-schnell takes no guidance: it was distilled"),
    ("pix2pix", {"strength": 0.5}, "pix2pix takes no strength"),
    ("pix2pix", {"image_guidance": 0.5}, "an image guidance of 0.5; it must be at least 1"),
    ("pix2pix", {"image_guidance": 1.5, "guidance": 1.0}, "no effect at a guidance of 1 or less"),
    ("pix2pix", {"width": 64}, "both sides of a size, or neither"),
    ("img2img", {"strength": 1.5}, "a strength of 1.5; it must be above 0 and at most 1"),
    ("img2img", {"strength": 0.05, "steps": 10}, "leaves none of 10 steps; take at least 20"),
    ("img2img", {"image_guidance": 1.5}, "only InstructPix2Pix has it"),
]


@pytest.mark.parametrize(("kind", "given", "said"), REFUSED)
def test_what_a_model_cannot_do_is_refused(kind, given, said):
    with pytest.raises(UsageError, match=said):
        check(opened(kind), edits=kind in EDITORS, **given)


def test_schedulers_of_dit_are_those_that_scale_nothing():
    names = opened("dit")._adapters.makes.schedulers.names
    assert {"DDIMScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler"} <= set(names)
    assert not {"LMSDiscreteScheduler", "HeunDiscreteScheduler"} & set(names)


SOURCE = Image.new("RGB", (64, 64))
NOT_MADE = [
    ("dit", Request("goldfsh", 1), "dit has no class 'goldfsh' among its 7; did you mean 'goldfish'"),
    ("dit", Request("xyzzy", 1), "dit has no class 'xyzzy' among its 7; one of them is '"),
    ("dit", Request("goldfish", 1, negative="tench"), "dit takes no negative prompt"),
    ("flux", Request("a cat", 1, negative="a dog"), "flux takes no negative prompt"),
    ("img2img", Request("a cat", 1, source=SOURCE, blend=Blend(2, 0.5)), "cannot be blended"),
    ("pix2pix", Request("a cat", 1, source=Image.new("RGB", (7, 64))), "a source of 7 x 64 pixels; this model edits 8"),
]


@pytest.mark.parametrize(("kind", "request_", "said"), NOT_MADE)
def test_requests_that_a_model_cannot_meet_are_refused(kind, request_, said):
    with pytest.raises(UsageError, match=said):
        opened(kind).generate([request_], Setting(steps=2))


def test_a_negative_prompt_without_guidance_is_refused():
    with pytest.raises(UsageError, match="no effect at a guidance of 1"):
        opened("sd").generate([Request("a cat", 1, negative="a dog")], Setting(steps=2, guidance=1.0))


READ = [  # letters, each a token of the tiny tokenizers, beside what marks the start and the end
    ("sd", 77 - 2),
    ("sdxl", 77 - 2),
    ("pix2pix", 77 - 2),
    ("pixart-alpha", 120 - 2),
    ("pixart-sigma", 300 - 2),
    ("sd3", 256 - 2),  # T5, of three encoders
    ("flux", 512 - 2),
]


@pytest.mark.parametrize(("kind", "letters"), READ)
def test_what_is_beyond_the_encoder_that_reads_most_is_counted_and_changes_nothing(kind, letters):
    producer = opened(kind)
    read = ("Ab" * letters)[:letters]
    assert [producer.unread(read + more) for more in ("", "c", "cd")] == [0, 1, 2]
    source = SOURCE if kind in EDITORS else None
    side = None if source else 64
    requests = [Request(text, 1, source=source) for text in (f"{read}c", f"{read}d", f"{read[:-1]}cd")]
    one, other, third = (
        producer.generate([request], Setting(steps=2, width=side, height=side))[0].tobytes() for request in requests
    )
    assert one == other
    assert third != one


def test_the_names_of_classes_have_no_length():
    assert opened("dit").unread("umbrella " * 500) == 0


def test_edits_and_images_from_text_are_made_in_calls_of_their_own():
    with pytest.raises(UsageError, match="with and without a source"):
        opened("sd").generate([Request("a cat", 1), Request("a cat", 1, source=SOURCE)], Setting(steps=2))
    assert opened("sd").generate([], Setting()) == []
