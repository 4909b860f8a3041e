"""A slow request opens its waterfall, drawn from the raw data in the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
from browsing import ask, keep_charts, load, needs_browser, said, show, wait
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from llmbench import report
from llmbench.report import raw_data
from llmbench.runs.run_set import RunSet

pytestmark = needs_browser

HOSTILE = "<script>alert(1)</script></script><img src=x onerror=alert(2)>"
DIALOG = "document.querySelector('#request')"
DRAWN = "document.querySelector('#waterfall').data"
SLOWEST = "[aria-labelledby=slow] .open"


def is_open(browser: Chrome) -> bool:
    return bool(ask(browser, f"{DIALOG}.open && {DRAWN}"))


def open_slowest(browser: Chrome) -> str:
    """Open the slowest request of the first case by keyboard and return its key."""
    button = browser.find_element(By.CSS_SELECTOR, SLOWEST)
    key: str = ask(browser, "arguments[0].closest('th').dataset.request", button)
    button.send_keys(Keys.ENTER)
    wait(browser, lambda: is_open(browser))
    return key


def write(run_set: RunSet, folder: Path) -> Path:
    """Write a page whose only chart is that of a request."""
    report.write(run_set, folder / "page.html")
    return keep_charts(folder / "page.html", "waterfall")


def record(run_set: RunSet, key: str) -> Any:
    case, repeat, number = key.rsplit("/", 2)
    path = run_set.folder / "runs" / f"{case}-r{repeat}" / "records.parquet"
    return pd.read_parquet(path).set_index("request_id").loc[int(number)]


def spans(browser: Chrome) -> dict[str, Any]:
    """Return the drawn spans, begin and end, by kind."""
    traces = ask(browser, f"{DRAWN}.map((trace) => [trace.meta.span, trace.base, trace.x])")
    return {kind: np.stack([base, np.add(base, x)], axis=1) for kind, base, x in traces if x}


def test_a_row_opens_the_spans_of_the_stored_record(
    browser: Chrome, quick_page: Path, sample: RunSet
) -> None:
    show(browser, quick_page)
    stored = record(sample, open_slowest(browser))
    times = stored["token_times"]
    drawn = spans(browser)
    assert drawn["prefill"] == pytest.approx(np.array([[stored["started"], times[0]]]))
    assert drawn["decode"] == pytest.approx(np.stack([times[:-1], times[1:]], axis=1))


def test_the_waterfall_has_a_text_and_a_table(
    browser: Chrome, quick_page: Path, sample: RunSet
) -> None:
    show(browser, quick_page)
    key = open_slowest(browser)
    stored = record(sample, key)
    facts = browser.find_element(By.ID, "request-facts").text
    assert f"{stored['output_tokens']} tokens in {len(stored['token_times'])} chunks" in facts
    assert "finish: length." in facts
    rows = ask(browser, f"{DIALOG}.querySelectorAll('tbody tr').length")
    assert rows == sum(map(len, spans(browser).values()))
    label = browser.find_element(By.ID, "waterfall").get_attribute("aria-label")
    assert label == f"Waterfall. {facts}"


def test_what_came_before_the_first_chunk_is_split_by_what_is_known(
    browser: Chrome, make: Any, tmp_path: Path
) -> None:
    plan = make.planned("swift", 1)
    late, unknown = (
        replace(make.serve(1)[-1], request_id=number, due=1.0, sent=1.25, started=started,
                token_times=(2.0, 3.0), token_counts=(1, 2))
        for number, started in ((100, 1.5), (101, None))
    )  # fmt: skip
    run = make.run_of(plan, [*make.serve(1)[:-1], late, unknown])
    page = write(make.store_run_set(tmp_path / "set", [plan], [run]), tmp_path)
    show(browser, page, fragment="#?request=swift/1/100")
    assert {kind: part.tolist() for kind, part in spans(browser).items()} == {
        "unsent": [[1.0, 1.25]], "queue": [[1.25, 1.5]], "prefill": [[1.5, 2.0]],
        "decode": [[2.0, 3.0]],
    }  # fmt: skip
    show(browser, page, fragment="#?request=swift/1/101")
    assert {kind: part.tolist() for kind, part in spans(browser).items()} == {
        "unsent": [[1.0, 1.25]], "waiting": [[1.25, 2.0]], "decode": [[2.0, 3.0]],
    }  # fmt: skip


def test_escape_closes_it_and_gives_the_focus_back(browser: Chrome, quick_page: Path) -> None:
    show(browser, quick_page)
    open_slowest(browser)
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    wait(browser, lambda: not ask(browser, f"{DIALOG}.open"))
    assert ask(browser, f"document.activeElement.matches('{SLOWEST}')")
    wait(browser, lambda: urlsplit(browser.current_url).fragment == "")


def test_the_address_opens_the_request_again(browser: Chrome, quick_page: Path) -> None:
    show(browser, quick_page)
    key = open_slowest(browser)
    fragment = urlsplit(browser.current_url).fragment
    assert parse_qs(fragment.removeprefix("?")) == {"request": [key]}
    load(browser, quick_page, fragment=f"#{fragment}")
    assert is_open(browser)


def test_an_address_of_an_unknown_request_closes_the_one_before(
    browser: Chrome, quick_page: Path
) -> None:
    show(browser, quick_page)
    open_slowest(browser)
    ask(browser, "location.hash = '#?request=swift/9/9'")
    wait(browser, lambda: not ask(browser, f"{DIALOG}.open"))
    assert said(browser) == "This page does not have the record of request swift/9/9."


def test_a_click_on_a_bar_of_the_timeline_opens_its_request(browser: Chrome, page: Path) -> None:
    show(browser, page)
    bar = (
        "[...document.querySelectorAll('#timeline-0 .trace.bars')].at(-1)"
        ".querySelectorAll('.point path')[30]"
    )
    ask(browser, f"{bar}.scrollIntoView({{block: 'center'}})")
    box = ask(
        browser,
        f"(({{x, y, width, height}}) => [x, y, width, height])({bar}.getBoundingClientRect())",
    )
    x, y = round(box[0] + box[2] / 2), round(box[1] + box[3] / 2)
    actions = ActionChains(browser)
    actions.w3c_actions.pointer_action.move_to_location(x, y)  # type: ignore[no-untyped-call]
    actions.click().perform()
    wait(browser, lambda: is_open(browser))
    number = ask(browser, "document.querySelector('#timeline-0').layout.meta.requests.ids[30]")
    opened = parse_qs(urlsplit(browser.current_url).fragment.removeprefix("?"))
    assert opened == {"request": [f"swift/1/{number}"]}


def test_a_failed_request_tells_its_error_as_plain_text(
    browser: Chrome, quick_page: Path, sample: RunSet
) -> None:
    frame = pd.read_parquet(sample.folder / "runs" / "stalling-r1" / "records.parquet")
    number = frame[frame["finish"] == "error"]["request_id"].iloc[0]
    show(browser, quick_page, fragment=f"#?request=stalling/1/{number}")
    assert is_open(browser)
    assert (
        f"finish: error (timeout: {HOSTILE})" in browser.find_element(By.ID, "request-facts").text
    )
    assert ask(browser, f"{DIALOG}.querySelectorAll('img').length") == 0


def test_without_all_raw_data_only_the_slowest_requests_can_be_opened(
    browser: Chrome, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_data, "LIMIT_BYTES", 1000)
    plan = make.planned("swift", 1)
    run_set = make.store_run_set(tmp_path / "set", [plan], [make.run_of(plan, make.serve(1))])
    page = write(run_set, tmp_path)
    show(browser, page)
    stored = record(run_set, open_slowest(browser))
    assert len(spans(browser)["decode"]) == len(stored["token_times"]) - 1
    load(browser, page, fragment="#?request=swift/1/0")
    assert said(browser) == "This page does not have the record of request swift/1/0."
    assert not ask(browser, f"{DIALOG}.open")


def test_unknown_timestamps_have_no_span(browser: Chrome, make: Any, tmp_path: Path) -> None:
    plan = make.planned("swift", 1)
    served = make.serve(1)
    served[-1] = make.forgetting(served[-1])
    stored = make.store_run_set(tmp_path / "set", [plan], [make.run_of(plan, served)])
    show(browser, write(stored, tmp_path), fragment=f"#?request=swift/1/{served[-1].request_id}")
    times = served[-1].token_times
    assert spans(browser)["decode"] == pytest.approx(np.array([[times[0], times[-1]]]))
    assert ask(browser, f"{DRAWN}.at(-1).customdata")[0].endswith(f", {len(times) - 1} tokens")


def test_what_a_server_reports_splits_the_time_until_the_first_token(
    browser: Chrome, make: Any, tmp_path: Path
) -> None:
    plan = make.planned("swift", 1)
    first = replace(
        make.serve(1)[-1], request_id=100, due=1.0, sent=1.25, started=None, connect_seconds=0.0625,
        server_queue_seconds=0.125, server_ttft_seconds=0.375, token_times=(2.0, 3.0),
        token_counts=(1, 2),
    )  # fmt: skip
    second = replace(first, request_id=101, connect_seconds=None, server_ttft_seconds=9.0)
    third = replace(
        first, request_id=102, connect_seconds=None, server_queue_seconds=None,
        server_ttft_seconds=None, server_prefill_seconds=0.5,
    )  # fmt: skip
    run = make.run_of(plan, [*make.serve(1)[:-1], first, second, third])
    page = write(make.store_run_set(tmp_path / "set", [plan], [run]), tmp_path)
    expected: dict[int, dict[str, list[list[float]]]] = {
        100: {
            "connect": [[1.25, 1.3125]], "queue": [[1.3125, 1.4375]], "prefill": [[1.4375, 1.6875]],
            "rest": [[1.6875, 2.0]],
        },
        101: {"queue": [[1.25, 1.375]], "prefill": [[1.375, 2.0]]},  # more than there is
        102: {"prefill": [[1.25, 1.75]], "rest": [[1.75, 2.0]]},
    }  # fmt: skip
    for number, parts in expected.items():
        show(browser, page, fragment=f"#?request=swift/1/{number}")
        drawn = {kind: part.tolist() for kind, part in spans(browser).items()}
        whole = {"unsent": [[1.0, 1.25]], **parts, "decode": [[2.0, 3.0]]}
        if number == 101:  # the first token has a span of its own, of no length
            whole["rest"] = [[2.0, 2.0]]
        assert drawn == whole
