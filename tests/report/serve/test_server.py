"""The pages over a real socket: what they show, and what nobody gets."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from pathlib import Path
from threading import Event, Thread
from urllib.parse import urlencode

import pytest
from small_sets import begun, planned, run_of, stored

from llmbench.errors import InputError
from llmbench.report import pages
from llmbench.report.conclusions import answer
from llmbench.report.results import results_of
from llmbench.report.serve import site
from llmbench.report.serve.server import Server, started
from llmbench.report.serve.site import Site
from llmbench.runs import store

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


@dataclass
class Reply:
    status: int
    headers: http.client.HTTPMessage
    text: str


def ask(server: Server, target: str, method: str = "GET", **headers: str) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    try:
        connection.putrequest(method, target, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read().decode())
    finally:
        connection.close()


def send(server: Server, request: bytes) -> bytes:
    """Send bytes as they are and give what comes back."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as raw:
        raw.sendall(request)
        return b"".join(iter(lambda: raw.recv(65536), b""))


@contextmanager
def serving(folder: Path, host: str = "127.0.0.1") -> Iterator[Server]:
    with started(Site(folder), host, 0) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two run sets side by side, and one deeper down with a name that is hard to write."""
    folder = tmp_path_factory.mktemp("results")
    stored(folder / "monday", 0.100, 0.101, 0.102, 0.103)
    stored(folder / "tuesday", 0.200, 0.201, 0.202, 0.203)
    (folder / "check").mkdir()
    stored(folder / "check" / "50% more?&x=1 ü", name="odd")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serving(folder) as server:
        yield server


# -- what is shown ---------------------------------------------------------------------------------


def test_the_index_lists_every_run_set(server: Server) -> None:
    reply = ask(server, "/")
    assert reply.status == HTTPStatus.OK
    assert 'href="/report/monday"' in reply.text
    assert "4 of 4" in reply.text
    assert "check/50% more?&amp;x=1 ü" in reply.text
    assert "3 of 3 run sets" in reply.text


def test_the_index_has_the_first_sentence_of_each_report(server: Server, folder: Path) -> None:
    sentence = answer(results_of(store.read(folder / "monday")))[0]
    assert f'<td class="conclusion">{escape(sentence)}</td>' in ask(server, "/").text


def test_conclusions_without_time_left_are_for_the_next_reload(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "CONCLUDING_SECONDS", 0.0)
    with serving(folder) as server:
        assert ask(server, "/").text.count("not computed yet; reload") == 3
        monkeypatch.setattr(site, "CONCLUDING_SECONDS", 60.0)
        assert "not computed yet" not in ask(server, "/").text


def test_a_conclusion_is_computed_once_until_its_files_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(tmp_path / "results" / "monday")
    monkeypatch.setattr(pages, "conclusion", lambda run_set: f"{len(run_set.runs)} runs.")
    with serving(tmp_path / "results") as server:
        assert "1 runs." in ask(server, "/").text
        monkeypatch.setattr(pages, "conclusion", lambda _: "Another.")
        assert "1 runs." in ask(server, "/").text
        (tmp_path / "results" / "monday" / "runset.json").touch()
        assert "Another." in ask(server, "/").text


def test_serving_deletes_and_changes_nothing(tmp_path: Path) -> None:
    stored(tmp_path / "results" / "monday")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with serving(tmp_path / "results") as server:
        ask(server, "/")
        ask(server, "/report/monday")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_report_is_the_page_that_is_written_and_leads_back(server: Server) -> None:
    reply = ask(server, "/report/monday")
    assert reply.status == HTTPStatus.OK
    assert "<title>small · llmbench report</title>" in reply.text
    assert 'id="ecdf-ttft"' in reply.text
    assert '<a href="/">' in reply.text


def test_a_link_to_a_hard_name_leads_there(server: Server) -> None:
    (link,) = re.findall(r'href="(/report/check[^"]*)"', ask(server, "/").text)
    assert "<title>odd · llmbench report</title>" in ask(server, link).text


def test_two_run_sets_are_compared(server: Server) -> None:
    reply = ask(server, "/compare?baseline=monday&candidate=tuesday")
    assert reply.status == HTTPStatus.OK
    assert "tuesday against monday" in reply.text
    assert "× 1.99" in reply.text


def test_the_form_sends_what_the_comparison_takes(server: Server) -> None:
    keys = re.findall(r'name="candidate" value="([^"]*)"', ask(server, "/").text)
    query = urlencode([("baseline", keys[0]), *(("candidate", key) for key in keys[1:])])
    reply = ask(server, f"/compare?{query}")
    assert (reply.status, len(keys)) == (HTTPStatus.OK, 3)


@pytest.mark.parametrize("query", ["", "?baseline=monday", "?candidate=monday", "?baseline=&x"])
def test_a_comparison_without_a_choice_says_what_to_pick(server: Server, query: str) -> None:
    reply = ask(server, f"/compare{query}")
    assert reply.status == HTTPStatus.BAD_REQUEST
    assert "Select one baseline" in reply.text


@pytest.mark.parametrize(
    ("sought", "shown"),
    [("tuesday", ["tuesday"]), ("SMALL  mon", ["monday"]), ("eager", ["monday", "tuesday"])],
)
def test_the_index_is_filtered_by_words(server: Server, sought: str, shown: list[str]) -> None:
    text = ask(server, "/?" + urlencode({"filter": sought})).text
    assert re.findall(r'href="/report/(\w*day)"', text) == shown


def test_a_filter_that_nothing_matches_says_so(server: Server) -> None:
    assert "No run set matches all of these words." in ask(server, "/?filter=nowhere").text


def test_the_head_of_a_page_has_its_length_and_no_body(server: Server) -> None:
    reply = ask(server, "/report/monday", "HEAD")
    assert (reply.status, reply.text) == (HTTPStatus.OK, "")
    whole = ask(server, "/report/monday").text.encode()
    assert int(reply.headers["Content-Length"]) == len(whole)


def test_pages_may_not_be_framed_or_read_from_elsewhere(server: Server) -> None:
    headers = ask(server, "/").headers
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_every_page_allows_no_script_but_its_own(server: Server) -> None:
    for target in ("/", "/report/monday", "/compare?baseline=monday&candidate=tuesday", "/nowhere"):
        assert "default-src 'none'; script-src 'nonce-" in ask(server, target).text


# -- what nobody gets ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", ["/nowhere", "/report/", "/report/nowhere", "/compare?baseline=x&candidate=monday"]
)
def test_what_is_not_there_is_404(server: Server, target: str) -> None:
    assert ask(server, target).status == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize(
    "path",
    [
        "../secret", "..%2fsecret", "%2e%2e/secret", "monday/../../secret", "/etc/passwd",
        "%2fetc%2fpasswd", "monday%00", "monday/runs", "monday/runset.json", ".", "..",
        "..%5csecret", "%ff%fe", "%c0%ae%c0%ae/secret",
    ],
)  # fmt: skip
def test_no_address_leads_out_of_the_list(tmp_path: Path, path: str) -> None:
    stored(tmp_path / "secret", name="secret")
    (tmp_path / "results").mkdir()
    stored(tmp_path / "results" / "monday")
    with serving(tmp_path / "results") as server:
        reply = ask(server, f"/report/{path}")
        assert reply.status == HTTPStatus.NOT_FOUND
        assert "llmbench report" not in reply.text


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(server: Server, method: str) -> None:
    reply = ask(server, "/", method)
    assert reply.status == HTTPStatus.METHOD_NOT_ALLOWED
    assert reply.headers["Allow"] == "GET, HEAD"


def test_a_method_that_nobody_knows_is_not_implemented(server: Server) -> None:
    assert ask(server, "/", "BREW").status == HTTPStatus.NOT_IMPLEMENTED


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "", "127.0.0.1.nip.io"]
)
def test_a_page_of_another_name_is_not_answered(server: Server, host: str) -> None:
    reply = ask(server, "/", Host=host)
    assert reply.status == HTTPStatus.MISDIRECTED_REQUEST
    assert "monday" not in reply.text


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:80", "127.1.2.3", "[::1]:8000"]
)
def test_this_machines_own_names_are_answered_whatever_the_port(server: Server, host: str) -> None:
    assert ask(server, "/", Host=host).status == HTTPStatus.OK


def test_a_request_without_a_host_is_not_answered(server: Server) -> None:
    assert b" 421 " in send(server, b"GET / HTTP/1.0\r\n\r\n").partition(b"\r\n")[0]


def test_a_public_server_answers_to_any_name(folder: Path) -> None:
    with serving(folder, "0.0.0.0") as server:  # noqa: S104 (what is tested)
        assert not server.is_private
        assert ask(server, "/", Host="gpu-machine").status == HTTPStatus.OK


@pytest.mark.parametrize(
    "request_",
    [b"\x00\x01\x02\r\n\r\n", b"GET /a b c d HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"],
)
def test_what_is_no_request_gets_a_plain_page(server: Server, request_: bytes) -> None:
    reply = send(server, request_)
    assert b"Traceback" not in reply
    assert b"<h1" in reply


def test_an_address_of_any_length_is_refused_politely(server: Server) -> None:
    assert b" 414 " in send(server, b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n")[:40]


@pytest.mark.parametrize("count", [9, 2000])
def test_too_many_candidates_are_refused(server: Server, count: int) -> None:
    query = urlencode([("baseline", "monday"), *[("candidate", "tuesday")] * count])
    assert ask(server, f"/compare?{query}").status in (
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_URI_TOO_LONG,
    )


def test_a_candidate_that_is_named_twice_is_compared_once(server: Server) -> None:
    query = urlencode([("baseline", "monday"), *[("candidate", "tuesday")] * 3])
    text = ask(server, f"/compare?{query}").text
    assert text.count("tuesday against monday") == text.count("against monday")


def test_an_address_of_many_fields_is_refused(server: Server) -> None:
    assert ask(server, "/?" + "&".join(["x=1"] * 20)).status == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("target", ["/", "/report/monday", "/compare?baseline=a&candidate=b"])
def test_a_page_of_another_site_gets_nothing(server: Server, target: str) -> None:
    reply = ask(server, target, **{"Sec-Fetch-Site": "cross-site"})
    assert reply.status == HTTPStatus.FORBIDDEN
    assert "monday" not in reply.text


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_its_own_pages_and_the_address_bar_are_answered(server: Server, site: str) -> None:
    assert ask(server, "/", **{"Sec-Fetch-Site": site}).status == HTTPStatus.OK


@pytest.mark.parametrize("linked", ["runset.json", "runs", "runs/RUN", "runs/RUN/run.json"])
def test_links_out_of_the_folder_are_not_followed(tmp_path: Path, linked: str) -> None:
    outside = stored(tmp_path / "outside", name="secret name")
    inside = stored(tmp_path / "results" / "inside")
    (run,) = (path.name for path in inside.glob("runs/*"))
    link = inside / linked.replace("RUN", run)
    link.rename(tmp_path / "moved")
    link.symlink_to(outside / linked.replace("RUN", run))
    stored(tmp_path / "results" / "other")
    with serving(tmp_path / "results") as server:
        index = ask(server, "/")
        reply = ask(server, "/report/inside")
        assert ask(server, "/report/other").status == HTTPStatus.OK
    assert "a link out of the served folder" in index.text
    assert "secret name" not in index.text
    assert 'href="/report/other"' in index.text
    assert reply.status == HTTPStatus.CONFLICT
    assert "a link out of the served folder" in reply.text


def test_a_slow_page_does_not_block_the_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, released = Event(), Event()

    def slow(*_: object) -> str:
        begun.set()
        assert released.wait(60)
        return "slow"

    monkeypatch.setattr("llmbench.report.serve.site._comparison", slow)
    with serving(folder) as server, ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, server, "/compare?baseline=monday&candidate=tuesday")
        assert begun.wait(60)
        assert ask(server, "/").status == HTTPStatus.OK
        assert ask(server, "/report/monday").status == HTTPStatus.OK
        released.set()
        assert waiting.result().text == "slow"


def test_a_page_that_is_asked_for_twice_at_once_is_rendered_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = []

    def render(*_: object) -> str:
        rendered.append(1)
        return "page"

    monkeypatch.setattr("llmbench.report.serve.site._report", render)
    with serving(folder) as server, ThreadPoolExecutor() as pool:
        replies = list(pool.map(lambda _: ask(server, "/report/monday").text, range(8)))
    assert (replies, len(rendered)) == (["page"] * 8, 1)


def test_a_request_that_does_not_arrive_is_not_awaited(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmbench.report.serve.server.HEAD_SECONDS", 0.0)
    with serving(folder) as server:
        assert send(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n") == b""


def test_connections_beyond_the_limit_are_closed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmbench.report.serve.server.MOST_CONNECTIONS", 1)
    with (
        serving(folder) as server,
        socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as idle,
    ):
        idle.sendall(b"GET")
        assert send(server, b"") == b""
        idle.sendall(b" / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in idle.recv(40)


def test_a_run_that_cannot_be_read_is_shown_among_the_others(tmp_path: Path) -> None:
    folder = stored(tmp_path / "set", 0.1, 0.2)
    next(iter(sorted(folder.glob("runs/*/records.parquet")))).write_bytes(b"x")
    with serving(tmp_path) as server:
        reply = ask(server, "/report/set")
    assert reply.status == HTTPStatus.OK
    assert "records.parquet: cannot be read as Parquet" in reply.text


def test_hostile_names_are_text(tmp_path: Path) -> None:
    plan = [planned(HOSTILE, 1)]
    begun(tmp_path / "a <b>&'\"", plan, HOSTILE, description=HOSTILE)
    environment = {"cpu": {"model": HOSTILE}, "git": {"commit": "<i>x</i>"}}
    store.write_run(tmp_path / "a <b>&'\"", run_of(plan[0], environment=environment))
    with serving(tmp_path) as server:
        index = ask(server, "/?" + urlencode({"filter": "<script"})).text
        (key,) = re.findall(r'href="/report/([^"]*)"', index)
        pages = [index, ask(server, f"/report/{key}").text, ask(server, "/report/<img>").text]
        pages.append(ask(server, f"/compare?baseline={key}&candidate={key}").text)
    for page in pages:
        assert "<script>alert" not in page
        assert "<img" not in page
        assert "<i>x" not in page


def test_a_page_that_cannot_be_made_has_no_traceback(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Path) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("llmbench.runs.catalog.find", broken)
    with serving(folder) as server:
        reply = ask(server, "/")
    assert reply.status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert "secret" not in reply.text
    assert "RuntimeError: a secret detail" in capfd.readouterr().err


# -- what changes ----------------------------------------------------------------------------------


def test_a_run_set_that_appears_later_is_listed(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert "No run sets here yet" in ask(server, "/").text
        stored(tmp_path / "later")
        assert 'href="/report/later"' in ask(server, "/").text


def test_a_half_written_run_set_shows_what_is_there(tmp_path: Path) -> None:
    plan = [planned("eager", repeat) for repeat in (1, 2)]
    begun(tmp_path / "half", plan)
    with serving(tmp_path) as server:
        assert "No results yet." in ask(server, "/report/half").text
        store.write_run(tmp_path / "half", run_of(plan[0]))
        assert "1 of 2 runs measured, 1 not measured yet." in ask(server, "/report/half").text
        assert "1 of 2" in ask(server, "/").text


def test_a_page_is_kept_while_its_files_stay(tmp_path: Path) -> None:
    plan = [planned("eager", repeat) for repeat in (1, 2)]
    begun(tmp_path / "set", plan)
    store.write_run(tmp_path / "set", run_of(plan[0]))
    with serving(tmp_path) as server:
        first, again = (ask(server, "/report/set").text for _ in range(2))
        assert first == again  # a page that is made anew has a new nonce
        store.write_run(tmp_path / "set", run_of(plan[1]))
        assert ask(server, "/report/set").text != first


def test_a_run_set_that_cannot_be_read_is_listed_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "runset.json").write_text('{"format": "llmbench run set"}')
    with serving(tmp_path) as server:
        assert "has schema version None" in ask(server, "/").text
        reply = ask(server, "/report/old")
    assert reply.status == HTTPStatus.CONFLICT
    assert "has schema version None" in reply.text


def test_nothing_is_written(tmp_path: Path) -> None:
    stored(tmp_path / "set")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with serving(tmp_path) as server:
        for target in ("/", "/report/set", "/compare?baseline=set&candidate=set"):
            assert ask(server, target).status == HTTPStatus.OK
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_folder_that_is_a_run_set_is_served_by_its_name(tmp_path: Path) -> None:
    with serving(stored(tmp_path / "only")) as server:
        assert 'href="/report/only"' in ask(server, "/").text
        assert ask(server, "/report/only").status == HTTPStatus.OK


# -- opening ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [
        ("no-such-host.invalid", 0, "--host no-such-host.invalid"),
        ("x" * 100, 0, "--host xxx"),
        ("127.0.0.1", 70_000, "--port 70000: expected 0 to 65535"),
    ],
)
def test_a_place_to_listen_that_is_none_is_bad_input(
    folder: Path, host: str, port: int, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        started(Site(folder), host, port)


def test_a_port_that_is_taken_is_bad_input(server: Server, folder: Path) -> None:
    with pytest.raises(InputError, match="already in use"):
        started(Site(folder), "127.0.0.1", server.server_port)
