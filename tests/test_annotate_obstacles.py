"""What stands in a rater's way: pictures that are gone, names that are too long, prompts that turn text around."""

import signal

import httpx2 as httpx
import pytest
from annotating import Server, open_session, write_generators
from starlette.testclient import TestClient

from semscale.study.annotate.server import application
from semscale.study.annotate.text import counted

HEADERS = {"x-semscale": "annotate"}


@pytest.fixture
def folders(tmp_path):
    return write_generators(tmp_path)


@pytest.fixture
def client(folders, tmp_path):
    app = application(open_session(folders, tmp_path / "out"), "secret-token")
    return TestClient(app, base_url="http://127.0.0.1:8000/secret-token/", headers=HEADERS)


def enter(client, rater="Ann"):
    return client.post("enter", json={"rater": rater})


def rate(client, state):
    given = {"rater": state["rater"], "item": state["shown"]["item"], "position": state["position"]}
    return client.post("rate", json={**given, "choice": "left", "seconds": 0.5})


def test_an_item_with_a_picture_that_is_gone_can_be_put_off_and_no_other(client, folders, tmp_path):
    state = enter(client).json()
    put_off = {"rater": "Ann", "item": state["shown"]["item"], "position": 0}
    assert client.post("later", json=put_off).status_code == 400  # because it is hard
    lost = folders[1] / state["shown"]["prompt"] / "2.png"
    lost.write_bytes(b"gone")
    answers = [client.get(f"png/{picture}") for picture in state["shown"]["left"] + state["shown"]["right"]]
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [404]
    now = client.post("later", json=put_off).json()
    assert (now["position"], now["total"]) == (0, 3)
    assert now["shown"]["item"] != put_off["item"]
    assert client.post("later", json=put_off).status_code == 409  # a double click
    assert rate(client, rate(client, now).json()).json()["shown"]["item"] == put_off["item"]
    again = open_session(folders, tmp_path / "out").state("Ann")  # what is rated stays counted
    assert (again.position, again.shown.item) == (2, put_off["item"])


def test_the_end_names_what_could_not_be_shown(folders, tmp_path):
    server = Server(*folders, "-o", tmp_path / "out")
    for path in folders[0].glob("*/10.png"):
        path.write_bytes(b"gone")
    with httpx.Client(base_url=server.url, headers=HEADERS, trust_env=False) as client:
        shown = enter(client).json()["shown"]
        for picture in shown["left"] + shown["right"]:
            client.get(f"png/{picture}")
    assert server.end(signal.SIGINT) == 0
    assert "0 ratings of 0 raters" in server.said[-2]
    assert server.said[-1].endswith(f": {folders[0] / shown['prompt'] / '10.png'}")


def test_long_names_are_refused_and_not_cut(client, tmp_path):
    assert "maxlength" not in client.get("").text
    assert enter(client, "x" * 80).status_code == 200
    answer = enter(client, "x" * 81)
    assert answer.status_code == 400
    assert "81 characters" in answer.json()["error"]


def test_a_prompt_that_turns_text_around_is_shown_with_marks(tmp_path):
    prompt = "a \u202egod\u2066 \u200fx"
    folders = write_generators(tmp_path, [prompt], [1])
    session = open_session(folders, tmp_path / "out")
    assert session.state("Ann").shown.prompt == "a [U+202E]god[U+2066] [U+200F]x"
    assert session.task.items[0].prompt == prompt  # and kept as it is


def test_one_of_a_thing_is_singular():
    assert [counted(n, "rater") for n in (0, 1, 2)] == ["0 raters", "1 rater", "2 raters"]
    assert [counted(n, "prompt has", "prompts have") for n in (1, 2)] == ["1 prompt has", "2 prompts have"]
