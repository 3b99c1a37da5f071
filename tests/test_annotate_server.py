"""The rating page's server: whoever is not the page is refused, and nothing it is sent does harm."""

import signal
import socket

import httpx2 as httpx
import pytest
from annotating import Server, asked, open_session, write_generators
from click.testing import CliRunner
from images import png, write_tree
from starlette.testclient import TestClient

from semscale.cli_annotate import annotate
from semscale.errors import SourceError, UsageError
from semscale.study.annotate.server import application, listen

TOKEN, HEADERS = "secret-token", {"x-semscale": "annotate"}
BASE = "http://127.0.0.1:8000"


@pytest.fixture
def folders(tmp_path):
    return write_generators(tmp_path)


@pytest.fixture
def client(folders, tmp_path):
    app = application(open_session(folders, tmp_path / "out"), TOKEN)
    return TestClient(app, base_url=f"{BASE}/{TOKEN}/", headers=HEADERS, raise_server_exceptions=False)


def enter(client, rater="Ann"):
    return client.post("enter", json={"rater": rater})


def rate(client, state, **changes):
    given = {"rater": state["rater"], "item": state["shown"]["item"], "position": state["position"]}
    return client.post("rate", json={**given, "choice": "left", "seconds": 0.5, **changes})


def test_a_rater_rates_everything(client):
    state = enter(client).json()
    for position in range(3):
        assert (state["position"], state["total"], state["question"]) == (position, 3, "Which?")
        assert len(state["shown"]["left"]) == len(state["shown"]["right"]) == 3
        state = rate(client, state).json()
    assert state["shown"] is None
    assert client.post("undo", json={"rater": "Ann", "position": 3}).json()["position"] == 2


def test_nothing_that_is_sent_to_the_page_names_a_generator(client):
    state = enter(client).json()
    said = enter(client).text + client.get("").text
    assert "first" not in said and "second" not in said
    answer = client.get(f"image/{state['shown']['left'][0]}")
    assert not {"etag", "last-modified", "content-disposition"} & set(answer.headers)


def test_pictures_are_served_as_they_are(client, folders):
    state = enter(client).json()
    answers = [client.get(f"image/{picture}") for picture in state["shown"]["left"]]
    assert {answer.headers["content-type"] for answer in answers} == {"image/png"}
    files = {path.read_bytes() for folder in folders for path in folder.glob(f"{state['shown']['prompt']}/*.png")}
    assert {answer.content for answer in answers} <= files
    assert client.get(f"png/{state['shown']['left'][0]}").content.startswith(b"\x89PNG")


def test_every_answer_tells_browsers_to_be_strict(client):
    for answer in (client.get(""), client.get("nothing"), enter(client), client.get("", headers={"host": "evil"})):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy and "data:" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "path",
    ["image/../../../etc/passwd", "image/..%2f..%2f..%2fetc%2fpasswd", "image/%2e%2e/%2e%2e/etc/passwd",
     "../etc/passwd", "image/a%20dog/1.png", "image/", "image/%00", "page.js/../../session.py", "session.py",
     "task.json", "image/%ff"],
)  # fmt: skip
def test_no_path_leads_to_a_file(client, path):
    enter(client)
    answer = client.get(f"{BASE}/{TOKEN}/{path}")
    assert answer.status_code == 404
    assert "root:" not in answer.text


@pytest.mark.parametrize("path", ["/", "/enter", "/wrong-token/", f"/{TOKEN}x/", f"/x/{TOKEN}/"])
def test_without_the_token_there_is_nothing(client, path):
    assert client.get(BASE + path).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:8000"},
        {"host": "127.0.0.1.evil.example:8000"},
        {"host": "127.0.0.1:8000:8000"},
        {"host": "127.0.0.1:8001"},
        {"host": "localhost"},
        {"host": ""},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "https://127.0.0.1:8000"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
def test_other_hosts_and_origins_are_refused(client, headers):
    for answer in (client.get("", headers=headers), client.post("enter", json={"rater": "Eve"}, headers=headers)):
        assert answer.status_code == 403


def test_what_changes_something_needs_the_header_and_json(client):
    bare = TestClient(client.app, base_url=client.base_url)
    assert bare.post("enter", json={"rater": "Ann"}).status_code == 403
    assert client.post("enter", content='{"rater": "Ann"}', headers={"content-type": "text/plain"}).status_code == 400
    assert client.get("enter").status_code == 405
    own = {"origin": BASE, "sec-fetch-site": "same-origin"}
    assert client.post("enter", json={"rater": "Ann"}, headers=own).status_code == 200
    assert client.get("", headers={"host": "localhost:8000"}).status_code == 200


def test_a_stale_choice_is_refused_with_where_the_rater_is(client, tmp_path):
    state = enter(client).json()
    assert rate(client, state).status_code == 200
    again = rate(client, state, choice="right")
    assert again.status_code == 409
    assert "already" in again.json()["error"]
    assert again.json()["state"]["position"] == 1
    assert rate(client, again.json()["state"], item="0" * 16).status_code == 409
    assert client.post("undo", json={"rater": "Ann", "position": 0}).status_code == 409
    (file,) = (tmp_path / "out/ratings").iterdir()
    assert file.read_text().count('"rated"') == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"choice": ""},
        {"choice": None},
        {"choice": "both"},
        {"choice": ["left"]},
        {"seconds": -1},
        {"seconds": 10**400},
        {"seconds": "1"},
        {"seconds": True},
        {"position": 0.0},
        {"position": True},
        {"item": None},
        {"rater": ""},
        {"rater": 7},
        {"rater": "a\0"},
    ],
    ids=str,
)
def test_nothing_blank_or_odd_is_recorded(client, tmp_path, changes):
    answer = rate(client, enter(client).json(), **changes)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert not list((tmp_path / "out/ratings").iterdir())


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"[" * 9000, b'{"rater": NaN}', b'"x"', b"\xff", b'{"rater": "' + b"x" * 20_000 + b'"}']
)
def test_bodies_that_are_no_request_are_refused(client, body):
    answer = client.post("enter", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400


def test_hostile_prompts_come_back_as_data(tmp_path):
    prompts = ["<script>alert(1)<∕script>", '"><img src=x onerror=alert(1)>', "🦊" * 50, "a" * 250, "'; DROP TABLE --"]
    app = application(open_session(write_generators(tmp_path, prompts, [1]), tmp_path / "out"), TOKEN)
    client = TestClient(app, base_url=f"{BASE}/{TOKEN}/", headers=HEADERS)
    answer, seen = enter(client, "<b>Ann</b>"), set()
    while (state := answer.json())["shown"]:
        assert answer.headers["content-type"] == "application/json"
        seen.add(state["shown"]["prompt"])
        assert client.get(f"image/{state['shown']['right'][0]}").headers["content-type"] == "image/png"
        answer = rate(client, state)
    assert seen == set(prompts)


def test_a_picture_that_is_gone_or_swapped_is_not_served(client, folders, tmp_path):
    (tmp_path / "secret.png").write_bytes(png(77))
    state = enter(client).json()
    for folder in folders:
        for place, path in enumerate(sorted(folder.glob(f"{state['shown']['prompt']}/*"))):
            path.unlink()
            if place:
                path.symlink_to(tmp_path / "secret.png")
    for picture in state["shown"]["left"]:
        answer = client.get(f"image/{picture}")
        assert answer.status_code == 404
        assert "first" not in answer.text and "second" not in answer.text


def test_a_disk_that_is_full_is_said_and_nothing_is_taken_for_saved(client, monkeypatch):
    from semscale.study.annotate import ratings

    def full(descriptor):
        raise OSError(28, "No space left on device")

    state = enter(client).json()
    with monkeypatch.context() as patch:
        patch.setattr(ratings.RatingsFile, "_cut", lambda self, size: None)
        patch.setattr(ratings.os, "fsync", full)
        answer = rate(client, state)
    assert answer.status_code == 500
    assert "disk is full" in answer.json()["error"]
    assert enter(client).json()["position"] == 0


def test_only_the_loopback_address_is_listened_on():
    with listen(0) as listening:
        address, port = listening.getsockname()
        assert address == "127.0.0.1"
        with pytest.raises(SourceError, match=f"port {port} .*choose another --port"):
            listen(port)


def test_the_command_serves_resumes_and_ends(folders, tmp_path):
    out = tmp_path / "out"
    server = Server(*folders, "-o", out, "--json")
    assert "first and second: 3 prompts, up to 20 images a side" in server.said
    with httpx.Client(base_url=server.url, headers=HEADERS, trust_env=False) as client:
        state = rate(client, enter(client).json()).json()
        enter(client, "Bob, who rates nothing")
        host = server.url.split("/")[2].split(":")
        with socket.create_connection((host[0], int(host[1]))) as raw:  # a host that no client library would send
            raw.sendall(b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
            assert raw.recv(1000).startswith(b"HTTP/1.1 403")
        second = CliRunner().invoke(annotate, [*map(str, folders), "-o", str(out)])
        assert "another run is writing here" in str(second.exception)
    assert server.end(signal.SIGINT) == 0
    assert f"1 rating of 1 rater in {out}" in server.said[-2]
    assert '"n_items": 3, "raters": {"Ann": 1, "Bob, who rates nothing": 0}' in server.said[-1]
    again = Server(*folders, "-o", out, "--quiet")
    assert again.said == [again.url]
    with httpx.Client(base_url=again.url, headers=HEADERS, trust_env=False) as client:
        assert enter(client).json()["shown"]["item"] == state["shown"]["item"]
    assert again.end(signal.SIGINT) == 0


def test_a_server_killed_at_any_moment_loses_no_rating(tmp_path):
    folders = write_generators(tmp_path, [f"prompt {n}" for n in range(12)], [1])
    out, acknowledged = tmp_path / "out", 0
    for _ in range(2):
        server = Server(*folders, "-o", out)
        with httpx.Client(base_url=server.url, headers=HEADERS, trust_env=False) as client:
            state = enter(client).json()
            assert state["position"] == acknowledged
            for _ in range(4):
                state = rate(client, state).json()
            acknowledged = state["position"]
            assert server.end(signal.SIGKILL) == -signal.SIGKILL
    (file,) = (out / "ratings").iterdir()
    file.write_bytes(file.read_bytes() + b'{"event": "rated", "rater": "An')  # as a kill in the midst of it leaves it
    server = Server(*folders, "-o", out)
    with httpx.Client(base_url=server.url, headers=HEADERS, trust_env=False) as client:
        assert enter(client).json()["position"] == acknowledged == 8
    server.end(signal.SIGKILL)
    assert any("cut off in 1 file of" in line for line in server.said)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["first"], "--models"),
        (["first", "second", "first"], "give two folders"),
        (["first", "first"], "compared with itself"),
        (["first", "second", "--template", "attribute"], "--attribute TEXT"),
        (["first", "second", "-o", "first"], "holds the images"),
        (["first", "second", "-o", "other"], "holds something else"),
    ],
)
def test_wrong_usage_is_explained_and_leaves_nothing(folders, tmp_path, arguments, message):
    write_tree(tmp_path / "other", ["mine.png"])
    words = [str(tmp_path / word) if word in ("first", "second", "other") else word for word in arguments]
    done = CliRunner().invoke(annotate, [*words, *([] if "-o" in words else ["-o", str(tmp_path / "new")])])
    assert message in done.output + str(done.exception)
    assert isinstance(done.exception, UsageError | SystemExit)
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "other/.lock").exists()


def test_the_question_of_the_task_is_on_the_page(client):
    assert enter(client).json()["question"] == asked().question
