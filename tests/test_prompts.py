"""Files of prompts, seeds and sweeps: what is read, and what is refused in which words."""

import json
from pathlib import Path

import pytest
from images import png

from semscale.errors import UsageError
from semscale.producers import sweep
from semscale.producers.prompts import read_prompts
from semscale.producers.request import Setting
from semscale.producers.seeds import check_seeds, first_seeds, read_seeds

DATA = Path(__file__).parents[2] / "shared" / "data"
ODD = ["and/or ../../etc", "🦊 a fox", "a 'quoted' \"word\"", "long " * 60 + "end", "日本語", "a\tb", "a, b"]


def written(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def texts(path):
    return [prompt.text for prompt in read_prompts(path).prompts]


def test_a_text_file_has_a_prompt_a_line_whatever_its_line_ends(tmp_path):
    for ends in ("\n", "\r\n", "\r"):
        path = written(tmp_path / "p.txt", ends.join(["a cat", " a dog ", "", *ODD]), "utf-8-sig")
        listed = read_prompts(path)
        assert [prompt.text for prompt in listed.prompts] == ["a cat", "a dog", *ODD]
        assert [prompt.where for prompt in listed.prompts][:3] == ["line 1", "line 2", "line 4"]
        assert listed.notes == [f"{path}: no prompt on line 3; left out"]


def test_csv_jsonl_and_text_give_the_same_prompts(tmp_path):
    import csv

    with (tmp_path / "p.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([["PROMPTS", "Category"], *([text, "c"] for text in [*ODD, "two\nlines"])])
    lines = [json.dumps({"Caption": text, "Category": 7}) for text in [*ODD, "two\nlines"]]
    written(tmp_path / "p.jsonl", "\r\n".join(lines))
    assert texts(tmp_path / "p.csv") == texts(tmp_path / "p.jsonl") == [*ODD, "two\nlines"]
    assert read_prompts(tmp_path / "p.csv").prompts[-1].where == f"line {len(ODD) + 2}"
    assert read_prompts(tmp_path / "p.jsonl").prompts[0].more == {"Category": 7}


def test_quotes_in_a_tsv_are_text_unless_they_enclose_a_cell(tmp_path):
    rows = ["Prompt\tNote", '"G I G" painted on "x"\t', '"pandas ""wrote"" this"\t"n"', "plain\tn"]
    listed = read_prompts(written(tmp_path / "p.tsv", "\n".join(rows))).prompts
    assert [prompt.text for prompt in listed] == ['"G I G" painted on "x"', 'pandas "wrote" this', "plain"]
    assert [prompt.more["Note"] for prompt in listed] == [None, "n", "n"]


def test_a_column_of_a_better_name_wins_and_the_other_is_kept(tmp_path):
    path = written(tmp_path / "p.csv", "text,Prompt,seed\nshown,asked,3\n")
    prompt = read_prompts(path).prompts[0]
    assert (prompt.text, prompt.more) == ("asked", {"text": "shown", "seed": "3"})


def test_partiprompts_is_read_as_published():
    path = DATA / "prompts" / "PartiPrompts.tsv"
    if not path.exists():
        pytest.skip("the published prompts are not here")
    listed = read_prompts(path)
    assert (len(listed.prompts), listed.notes) == (1632, [])
    assert listed.prompts[0].more == {
        "Category": "Abstract",
        "Challenge": "Basic",
        "Note": "Biology-inspired concepts with multiple meanings",
    }
    assert any(prompt.text.startswith('"G I G G L E" painted in thick') for prompt in listed.prompts)


def test_edits_name_images_beside_the_table(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    table = (
        "instruction,IMAGE,negative_prompt,source_text,edited_text\nmake it snow,a.png,rain,a street,a snowy street\n"
    )
    prompt = read_prompts(written(tmp_path / "p.csv", table)).prompts[0]
    assert (prompt.text, prompt.source, prompt.negative) == ("make it snow", tmp_path / "a.png", "rain")
    assert (prompt.source_text, prompt.edited_text) == ("a street", "a snowy street")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.txt", "\n \n", "no prompts"),
        ("p.csv", "", "is empty"),
        ("p.csv", "words,more\na,b\n", "no column 'prompt'.*columns: 'words', 'more'"),
        ("p.csv", "prompt,Prompt\na,b\n", "both columns"),
        ("p.csv", "prompt,prompt\na,b\n", "2 columns 'prompt'"),
        ("p.csv", "prompt\na\n\na cat, sitting\n", "line 4 has 2 cells.*quotes"),
        ("p.csv", 'prompt\na\n"never closed\n', "line 3.*quotes"),
        ("p.tsv", "prompt\na\tb\n", "line 2 has 2 cells"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": 3}\n', "line 2, column 'prompt': 3 is not text"),
        ("p.jsonl", '{"prompt": "a"}\n{"prom', "line 2 is not JSON"),
        ("p.jsonl", '["a"]\n', "line 1 is not a JSON object"),
        ("p.jsonl", '{"prompt": "\\ud83d"}\n', "line 1 is not valid Unicode"),
        ("p.csv", "prompt,image\na,gone.png\n", "line 2: no image .*gone.png"),
        ("p.csv", "prompt,image\na,a.png\nb,\n", "line 3 has no source, and others have"),
        ("p.csv", "prompt,image,source_text\na,a.png,b\n", "captions of one side"),
        ("p.csv", "prompt,source_text,edited_text\na,b,c\n", "no column of images"),
        ("p.md", "a\n", "not a file of prompts; give one of .txt, .csv, .tsv, .jsonl"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(tmp_path, name, text, said):
    (tmp_path / "a.png").write_bytes(png())
    with pytest.raises(UsageError, match=f"(?s){said}"):
        read_prompts(written(tmp_path / name, text))


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"is not UTF-8.*save it as UTF-8"):
        read_prompts(written(tmp_path / "p.txt", "café", "latin-1"))


def test_seeds_are_the_beginning_of_one_list(tmp_path):
    assert first_seeds(3) == [0, 1, 2] == first_seeds(5)[:3]
    path = written(tmp_path / "s.txt", f"7\r\n\r\n 3 \n{2**63 - 1}\n", "utf-8-sig")
    assert read_seeds(path) == [7, 3, 2**63 - 1]
    assert read_seeds(path, 2) == [7, 3]


def test_published_seeds_are_read():
    path = DATA / "study" / "random_seeds.txt"
    if not path.exists():
        pytest.skip("the published seeds are not here")
    assert read_seeds(path, 3) == [892834, 318110, 724172]
    assert len(read_seeds(path)) == 100


@pytest.mark.parametrize(
    ("text", "n", "said"),
    [
        ("1\n-2\n", None, "line 2: '-2' is no whole number"),
        (f"{2**63}\n", None, "line 1: .* is no whole number"),
        ("1\ntwo\n", 1, "line 2: 'two'"),
        ("1.0\n", None, "line 1: '1.0'"),
        ("٣\n", None, "line 1"),
        ("1\n2\n01\n", None, "line 3: seed 1 is on line 1 too"),
        ("\n\n", None, "no seeds"),
        ("1\n2\n", 3, "3 seeds were asked for, and it holds 2"),
    ],
)
def test_what_is_no_seed_is_refused_with_its_line(tmp_path, text, n, said):
    with pytest.raises(UsageError, match=said):
        read_seeds(written(tmp_path / "s.txt", text), n)


def test_seeds_from_python_are_checked():
    check_seeds([0, 2**63 - 1])
    for seeds, said in (([], "no seeds"), ([1, True], "seed 2 is True"), ([-1], "-1"), ([4, 5, 4], "seed 4 is given")):
        with pytest.raises(UsageError, match=said):
            check_seeds(seeds)


def test_a_sweep_is_the_product_of_its_lists_and_labels_say_what_is_swept():
    settings = sweep.product(
        steps=sweep.whole_numbers("10, 20", "--steps"),
        guidance=sweep.numbers("7.5", "--guidance"),
        scheduler=sweep.names("DDIMScheduler,PNDMScheduler", "--scheduler"),
        size=sweep.sizes("768x512", "--size"),
    )
    points = sweep.labelled("sdxl", settings)
    assert [point.label for point in points] == [
        f"sdxl steps={steps} scheduler={name}" for steps in (10, 20) for name in ("DDIMScheduler", "PNDMScheduler")
    ]
    assert points[0].setting == Setting(10, 7.5, scheduler="DDIMScheduler", width=768, height=512)
    assert [point.label for point in sweep.labelled("sdxl", [Setting()])] == ["sdxl"]
    sizes = sweep.labelled("m", [Setting(width=8, height=8), Setting(image_guidance=0.1234567), Setting()])
    assert [point.label for point in sizes] == [
        "m image-guidance=default size=8", "m image-guidance=0.1234567 size=default",
        "m image-guidance=default size=default",
    ]  # fmt: skip


NO_LISTS = [
    (sweep.whole_numbers, ["10,ten", "0", "1,", "1,01"]),
    (sweep.numbers, ["inf", "nan", "-1", "5,5.0"]),
    (sweep.names, ["A B", "", "a/b"]),
    (sweep.sizes, ["4x", "64,64x64", "64x64x3", "0"]),
]


@pytest.mark.parametrize(("read", "text"), [(read, text) for read, texts in NO_LISTS for text in texts])
def test_what_is_no_list_is_refused_by_the_name_of_its_option(read, text):
    with pytest.raises(UsageError, match=r"^--it "):
        read(text, "--it")


def test_no_setting_comes_twice():
    with pytest.raises(UsageError, match="the same setting twice"):
        sweep.labelled("m", [Setting(), Setting()])
    with pytest.raises(UsageError, match="no settings"):
        sweep.labelled("m", [])
