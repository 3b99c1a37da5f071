"""Lists of prompts checked row by row, and maps of prompts that differ on purpose."""

import json
import random
from pathlib import Path

import pytest
from compared_folders import images_of, scores, write_results

from semscale.errors import UsageError
from semscale.study.comparison import substitution
from semscale.study.comparison.comparing import compare_runs
from semscale.study.comparison.prompt_lists import check_lists
from semscale.study.comparison.prompt_maps import map_prompts, read_map
from semscale.study.comparison.prompt_rows import read_prompts
from semscale.study.comparison.substitution import parse_substitution, substituted

STUDY = Path(__file__).resolve().parents[2] / "shared" / "data" / "study"
MONET = [
    f"{what} in the style of Monet" for what in ("a cat, asleep", "a lake", "two trees", "the sea; at dawn", "a cow")
]
TOK = [prompt.replace("Monet", "TOK") for prompt in MONET]
AFTER = [prompt.replace("in the style of Monet", "as seen by TOK") for prompt in MONET]
BARE = [prompt.removesuffix(" in the style of Monet") for prompt in MONET]


@pytest.mark.skipif(not STUDY.is_dir(), reason="the lists of the published study are not beside the repository")
def test_the_published_lists_are_mispaired_in_rows_16_to_27():
    found = check_lists(*(read_prompts(STUDY / f"prompts_monet_{name}.txt") for name in ("sdxl", "lora")))
    assert str(found.substitution) == "Monet -> TOK"
    assert [row.row for row in found.flagged] == list(range(16, 28))
    assert [(row.fits, row.exact) for row in found.flagged[1:]] == [(row, True) for row in range(16, 27)]
    assert found.flagged[0].fits is None  # its prompt is nowhere in the other list
    assert len(found.pairs) == 49


@pytest.mark.parametrize(
    ("other", "learned"),
    [
        (MONET, "none"),
        (TOK, "Monet -> TOK"),
        (AFTER, "in the style of Monet -> as seen by TOK"),
        (BARE, "in the style of Monet -> nothing"),
        ([f"photo: {prompt}" for prompt in MONET], "nothing -> photo : added at the start"),
    ],
)
def test_one_substitution_is_learned_and_no_row_flagged(other, learned):
    found = check_lists(MONET, other)
    assert (str(found.substitution), found.flagged) == (learned, ())


def test_words_added_at_the_end_are_learned():
    assert str(check_lists(BARE, MONET).substitution) == "nothing -> in the style of Monet added at the end"


def test_a_shuffled_list_is_flagged_with_the_row_that_fits():
    order = random.Random(2).sample(range(5), 5)
    found = check_lists(MONET, [TOK[n] for n in order])
    moved = [row for row in range(5) if order[row] != row]
    assert [row.row - 1 for row in found.flagged] == moved
    assert [(row.fits - 1, row.exact) for row in found.flagged] == [(order.index(row), True) for row in moved]


def test_rows_that_one_list_lacks_are_flagged():
    longer = check_lists(MONET, TOK[:3])
    assert [(row.row, row.b, row.fits) for row in longer.flagged] == [(4, None, None), (5, None, None)]
    shorter = check_lists(MONET[:3], TOK)
    assert [(row.row, row.a, row.fits) for row in shorter.flagged] == [(4, None, None), (5, None, None)]


def test_a_prompt_with_a_word_changed_is_flagged_with_its_nearest():
    (row,) = check_lists([*MONET, "a cow in a green field"], [*TOK, "a calf in a green field"]).flagged
    assert (row.row, row.fits, row.exact) == (6, 6, False)
    (row,) = check_lists(MONET, [*TOK[:4], "a calf in the style of TOK"]).flagged
    assert (row.row, row.fits) == (5, None)  # words that all prompts have make none alike


def test_one_wrong_prompt_teaches_no_substitution():
    found = check_lists(["a red fox", "a cat", "a dog", "an owl"], ["a blue fox", "a cat", "a dog", "an owl"])
    assert (str(found.substitution), [row.row for row in found.flagged]) == ("none", [1])


def test_lists_are_read_with_their_blank_rows(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes("\ufeffa\r\n\r\nb\u2028c\n\n\n".encode())
    assert read_prompts(file) == ["a", "", "b\u2028c"]
    file.write_text("\n \n")
    with pytest.raises(UsageError, match="has no prompts"):
        read_prompts(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read as text"):
        read_prompts(file)


def test_tables_are_read_with_their_blank_and_repeated_rows(tmp_path):
    (tmp_path / "a.csv").write_text('n,Prompt\n1,"a, b"\n\n2,a\n2,a\n3,\n4,"c\nd"\n5,e\n\n\n')
    (tmp_path / "a.tsv").write_text("prompt\tn\na\t1\n\na\t2\n")
    (tmp_path / "a.jsonl").write_text('\n{"prompt": "a"}\n{"prompt": null}\n{"prompt": "a"}\n')
    assert read_prompts(tmp_path / "a.csv") == ["a, b", "", "a", "a", "", "c\nd", "e"]
    assert read_prompts(tmp_path / "a.tsv") == ["a", "", "a"]
    assert read_prompts(tmp_path / "a.jsonl") == ["", "a", "", "a"]
    (tmp_path / "a.csv").write_text("n,what\n1,a\n")
    with pytest.raises(UsageError, match="line 2: has no text in a column 'prompt' or"):
        read_prompts(tmp_path / "a.csv")


def test_sed_replaces_the_first_match_and_with_g_every_one():
    given = ["s/.*/x/", "s/a/x/", "s/a/x/g", "a=>x", r"s,\,,x,"]
    assert [substituted(["a|a"], parse_substitution(each)) for each in given] == [
        ["x"],
        ["x|a"],
        *[["x|x"]] * 2,
        ["a|a"],
    ]
    assert parse_substitution("s/" + "\\" * 99) is None  # and at once


def test_an_expression_that_never_ends_is_ended(monkeypatch):
    monkeypatch.setattr(substitution, "SECONDS", 0.5)
    with pytest.raises(UsageError, match=r"took over 0\.5 s, at the prompt 'a{45}!'; write the pattern '\(a\+\)\+\$'"):
        map_prompts(["a fox", "a" * 45 + "!", "a cat"], "(a+)+$=>x", set())


@pytest.mark.parametrize("given", ["Monet=>TOK", "s/Monet/TOK/", r"s|\bMon(et)\b|TOK|", r"style of \w+$=>style of TOK"])
def test_a_substitution_maps_every_prompt(given):
    assert list(map_prompts(MONET, given, set(TOK)).prompts) == TOK


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.csv", "a,b\n" + "".join(f'"{a}","{b}"\n' for a, b in zip(MONET, TOK, strict=True))),
        ("map.tsv", "".join(f"{a}\t{b}\n" for a, b in zip(MONET, TOK, strict=True))),
        ("map.jsonl", "".join(json.dumps({"a": a, "b": b}) + "\n" for a, b in zip(MONET, TOK, strict=True))),
    ],
)
def test_a_file_maps_prompts_and_its_useless_rows_are_kept(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    found = map_prompts([*MONET[1:], "left alone"], str(tmp_path / name), set(TOK[:4]))
    assert found.prompts == (*TOK[1:], "left alone")
    assert found.unused == ((MONET[0], TOK[0]), (MONET[4], TOK[4]))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("a (cat, asleep|lake)=>a pet", "both become 'a pet in the style of Monet'"),
        ("Manet=>TOK", "fits none of the 5 prompts"),
        ("=>TOK", "an empty pattern is found before every letter"),
        ("s//TOK/", "an empty pattern"),
        ("s/(/TOK/", "not a regular expression"),
        (r"Monet=>\7", "not a regular expression with a replacement"),
        ("nowhere.csv", "no such file, and no substitution either"),
    ],
)
def test_a_bad_map_says_what_is_wrong(given, said):
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        map_prompts(MONET, given, set(TOK))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("m.csv", "a cat, asleep,b\n", "row 1 has 3 columns instead of 2"),
        ("m.csv", "x,y\nx,z\n", "row 2: 'x' is mapped twice"),
        ("m.csv", "b,a\nx,z\n", "the first column is to be a"),
        ("m.csv", "\n", "has no rows"),
        ("m.csv", '"x,y\n', "cannot be read"),
        ("m.jsonl", '{"a": "x"}\n', "row 1 is not"),
        ("m.jsonl", "{\n", "cannot be read"),
    ],
)
def test_a_bad_file_says_what_is_wrong(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=said):
        read_map(tmp_path / name)


def test_prompts_that_differ_on_purpose_are_joined_by_the_map(tmp_path):
    a = write_results(tmp_path / "a", {"base": scores(prompts=MONET)})
    tok = dict(zip(TOK, scores(4, prompts=MONET, noise=1).values(), strict=True))
    b = write_results(tmp_path / "b", {"lora": tok}, {"lora": images_of(tok)})
    with pytest.raises(UsageError, match=r"no prompt is in all of base, lora.*--prompt-map 'Monet=>TOK' would join 5"):
        compare_runs(a, b)
    found = compare_runs(a, b, prompt_map="s/Monet/TOK/")
    assert found.metrics[0].pairs[0].statistics.n == 5
    assert found.prompts.written[0] == (
        found.prompts.joined.keys[0].replace("TOK", "Monet"),
        found.prompts.joined.keys[0],
    )
    assert "5 prompts: with fewer than 6 no signed-rank test can show a difference" in found.warnings
