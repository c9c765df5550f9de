"""The report in a real browser."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chromium import Browser, chromium
from made_up import html_of, study
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from raytuner.history import History, TrialState
from raytuner.report.live import Server

SMALL, LARGE = 60, 5000
SECTIONS = {
    "summary",
    "progress",
    "curves-section",
    "importance-section",
    "parallel-section",
    "slices",
    "interactions",
    "timeline-section",
    "why",
    "failures",
    "trials",
    "reproduce",
}
Page = Callable[[int], Path]

ROWS = "return document.querySelectorAll('#table tbody tr').length"
MATCHES = "return document.querySelector('#matches').textContent"
# How many trials a plot shows, by the numbers that its points carry.
SHOWN = """return new Set(document.getElementById(arguments[0]).data
    .filter(t => t.customdata).flatMap(t => [...t.customdata])).size"""


@pytest.fixture(scope="module")
def _chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def browser(_chromium: Browser) -> Browser:
    """The browser with a plain desktop screen; errors of other pages are forgotten."""
    _chromium.open("about:blank")
    _chromium.emulate()
    _chromium.errors()
    return _chromium


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Makes the report of a study of so many trials, once each."""
    folder = tmp_path_factory.mktemp("reports")

    def _page(n: int) -> Path:
        file = folder / f"{n}.html"
        if not file.exists():
            file.write_text(html_of(study(n)), encoding="utf-8")
        return file

    return _page


def show(browser: Browser, plot: str) -> None:
    """Bring a plot into view."""
    browser.js("document.getElementById(arguments[0]).scrollIntoView({block: 'center'})", plot)
    browser.wait("document.getElementById(arguments[0])._fullLayout", plot)


def test_every_section_is_drawn_without_an_error(browser: Browser, page: Page) -> None:
    browser.open(page(SMALL))
    assert set(
        browser.js("return [...document.querySelectorAll('main section')].map(s => s.id)")
    ) == (SECTIONS)
    links = browser.js("return [...document.querySelectorAll('nav a')].map(a => a.hash.slice(1))")
    assert set(links) == SECTIONS
    drawn = browser.draw_all()
    # progress, curves, importance, parallel, five slices, one pair's two, timeline
    assert drawn == 12
    empty = browser.js(
        """return [...document.querySelectorAll('.js-plotly-plot')]
            .filter(p => !p._fullData.some(t => t.visible === true)).map(p => p.id)"""
    )
    assert empty == []
    assert browser.js("return performance.getEntriesByType('resource').length") == 0
    assert browser.errors() == []


def test_the_curves_are_those_of_the_record(browser: Browser, page: Page) -> None:
    history = study(SMALL)
    browser.open(page(SMALL))
    show(browser, "plot-curves")
    trial = next(t for t in history.trials if t.state is TrialState.COMPLETED)
    points = browser.js(
        """const found = [];
        for (const t of document.getElementById('plot-curves').data)
          if (t.mode === 'lines' && t.customdata) t.customdata.forEach((n, i) => {
            if (n === arguments[0] && Number.isFinite(t.x[i])) found.push([t.x[i], t.y[i]]); });
        return found""",
        trial.number,
    )
    assert [t for t, _ in points] == [t for t, _ in trial.values]
    assert [y for _, y in points] == pytest.approx([y for _, y in trial.values], rel=1e-6)
    shapes = browser.js(
        "return document.getElementById('plot-curves').layout.shapes.map(s => s.x0)"
    )
    assert shapes == [1, 3, 9]


def test_hovering_says_which_trial_it_is_and_why_it_stopped(browser: Browser, page: Page) -> None:
    browser.open(page(SMALL))
    show(browser, "plot-curves")
    stopped = next(t for t in study(SMALL).trials if t.state is TrialState.STOPPED_EARLY)
    browser.js(
        """const plot = document.getElementById('plot-curves');
        const curve = plot._fullData.findIndex(
          t => t.mode === 'markers' && [...t.customdata].includes(arguments[0]));
        const point = [...plot.data[curve].customdata].indexOf(arguments[0]);
        Plotly.Fx.hover(plot, [{curveNumber: curve, pointNumber: point}])""",
        stopped.number,
    )
    text = browser.wait("document.querySelector('#plot-curves .hoverlayer text')?.textContent")
    assert f"trial {stopped.number}" in text
    assert stopped.reason in text


def test_the_mouse_over_an_interaction_and_a_slice_tells_their_values(
    browser: Browser, page: Page
) -> None:
    browser.open(page(SMALL))
    for plot in ("plot-pair-0-mean", "plot-pair-0-sd", "plot-slice-0"):
        show(browser, plot)
        area = browser.driver.find_element(By.CSS_SELECTOR, f"#{plot} .nsewdrag")
        ActionChains(browser.driver).move_to_element(area).perform()
        text = browser.wait(
            "document.querySelector(`#${arguments[0]} .hoverlayer text`)?.textContent", plot
        )
        assert any(character.isdigit() for character in text)
    select = browser.driver.find_element(By.ID, "pair")
    pairs = len(select.find_elements(By.TAG_NAME, "option"))
    assert pairs == 6  # of the four that matter most
    for i in range(pairs):
        select.send_keys(Keys.ARROW_DOWN if i else Keys.HOME)
        browser.wait(
            "!document.getElementById(arguments[0]).closest('[hidden]')", f"plot-pair-{i}-sd"
        )
        show(browser, f"plot-pair-{i}-sd")
    assert browser.errors() == []


def test_the_plots_offer_no_upload(browser: Browser, page: Page) -> None:
    browser.open(page(SMALL))
    browser.draw_all()
    titles = browser.js(
        "return [...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title)"
    )
    assert set(titles) == {
        *("Download plot as a PNG", "Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes")
    }


def test_the_page_can_be_walked_through_by_keyboard(browser: Browser, page: Page) -> None:
    browser.open(page(SMALL))
    body = browser.driver.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert browser.js("return document.activeElement.textContent") == "Skip to the content"
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.js("return document.activeElement.id") == "content"
    reached = set()
    for _ in range(200):
        ActionChains(browser.driver).send_keys(Keys.TAB).perform()
        at = browser.js(
            """const e = document.activeElement;
            return e === document.body ? null
              : [e.closest('section')?.id || e.closest('form')?.id, e.id || e.tagName]"""
        )
        if at is None:
            break
        reached.add(at[0])
        # Where it is can be seen.
        assert browser.js("return getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert reached >= {"filters", *(SECTIONS - {"why", "failures"})}


def test_a_condition_filters_the_table_and_the_plots(browser: Browser, page: Page) -> None:
    browser.open(page(SMALL))
    show(browser, "plot-incumbent")
    trials = study(SMALL).trials
    wanted = [t for t in trials if t.config["optimizer"] == "adam" and t.config["lr"] < 0.01]
    query = browser.driver.find_element(By.ID, "query")
    query.send_keys("optimizer = adam, lr < 0.01")
    browser.wait(
        "document.querySelector('#matches').textContent.startsWith(arguments[0])",
        f"{len(wanted)} of",
    )
    assert browser.js(SHOWN, "plot-incumbent") == sum(bool(t.values) for t in wanted)
    query.clear()
    query.send_keys("nothing like it")
    browser.wait("document.querySelector('#matches').textContent.startsWith('0 of')")
    assert browser.js(ROWS) == 0
    query.clear()
    query.send_keys(" ")
    browser.wait("document.querySelector('#matches').textContent.startsWith(arguments[0])", "60 of")
    assert browser.errors() == []


def test_states_can_be_left_out(browser: Browser, page: Page) -> None:
    browser.open(page(SMALL))
    counts = study(SMALL).counts
    browser.driver.find_element(By.ID, "query").send_keys("state != stopped early")
    left = SMALL - counts[TrialState.STOPPED_EARLY]
    browser.wait(
        "document.querySelector('#matches').textContent === arguments[0]",
        f"{left} of {SMALL} trials",
    )


def test_the_table_sorts_and_turns_its_pages(browser: Browser, page: Page) -> None:
    browser.open(page(SMALL))
    assert browser.js(ROWS) == 25
    first = "return Number(document.querySelector('#table tbody tr td:nth-child(3)').textContent)"
    values = [t.value for t in study(SMALL).trials if t.value == t.value]
    assert browser.js(first) == pytest.approx(min(values), rel=1e-3)
    browser.driver.find_element(By.CSS_SELECTOR, '[data-sort="2"]').send_keys(Keys.ENTER)
    assert browser.js(first) == pytest.approx(max(values), rel=1e-3)
    sort = "return document.querySelector('th[aria-sort]').getAttribute('aria-sort')"
    assert browser.js(sort) == "descending"
    # The focus stays where it was: one can press again.
    assert browser.js("return document.activeElement.dataset.sort") == "2"
    browser.driver.find_element(By.ID, "next").click()
    assert browser.js("return document.querySelector('#page').textContent") == "2 of 3"


def test_a_trial_can_be_selected_and_left_by_keyboard(browser: Browser, page: Page) -> None:
    browser.open(page(SMALL))
    show(browser, "plot-incumbent")
    failed = next(t for t in study(SMALL).trials if t.state is TrialState.FAILED)
    button = browser.driver.find_element(
        By.CSS_SELECTOR, f'#failures [data-trial="{failed.number}"]'
    )
    button.send_keys(Keys.ENTER)
    detail = browser.driver.find_element(By.ID, "detail")
    assert detail.is_displayed()
    assert failed.reason in detail.text
    assert failed.trial_id in detail.text
    browser.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not detail.is_displayed()


def test_one_pair_is_shown_at_a_time(browser: Browser, page: Page) -> None:
    browser.open(page(SMALL))
    browser.driver.find_element(By.CSS_SELECTOR, "#pair option:nth-child(2)").click()
    browser.js("document.getElementById('plot-pair-1-sd').scrollIntoView()")
    browser.wait("document.getElementById('plot-pair-1-sd')._fullLayout")
    assert not browser.driver.find_element(By.ID, "plot-pair-0-sd").is_displayed()
    assert browser.errors() == []


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark_follow_the_system(dark: bool, browser: Browser, page: Page) -> None:
    browser.emulate(dark=dark)
    browser.open(page(SMALL))
    show(browser, "plot-incumbent")
    # Text against its background (WCAG 2.2, relative luminance), in the page and in a plot.
    contrast = """
      const rgb = c => c.match(/[\\d.]+/g).slice(0, 3).map(Number);
      const lum = c => { const [r, g, b] = rgb(c).map(v => v / 255).map(
        v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const back = lum(getComputedStyle(document.body).backgroundColor);
      const ratio = c => {
        const l = lum(c);
        return (Math.max(l, back) + .05) / (Math.min(l, back) + .05);
      };
      const tick = document.querySelector('#plot-incumbent .xtick text');
      return [back, ratio(getComputedStyle(document.body).color),
              ratio(getComputedStyle(tick).fill),
              ratio(getComputedStyle(document.querySelector('.quiet')).color)]"""
    back, *ratios = browser.js(contrast)
    assert (back < 0.1) == dark
    assert min(ratios) > 4.5


def test_a_phone_need_not_scroll_sideways(browser: Browser, page: Page) -> None:
    browser.emulate(width=390, height=844)
    browser.open(page(SMALL))
    assert browser.draw_all() == 12
    assert browser.js("return document.documentElement.scrollWidth") <= 390
    assert browser.errors() == []


def test_thousands_of_trials_open_about_as_fast_as_a_few(browser: Browser, page: Page) -> None:
    best = {}
    for n in (SMALL, LARGE):
        times = []
        for _ in range(3):
            browser.open(page(n))
            times.append(float(browser.wait("document.documentElement.dataset.ready")))
        best[n] = min(times)
    assert best[LARGE] < 5 * best[SMALL], best
    assert browser.js(MATCHES) == f"{LARGE} of {LARGE} trials"
    assert browser.draw_all() == 12
    browser.driver.find_element(By.ID, "query").send_keys("optimizer = adam")
    browser.wait("!document.querySelector('#matches').textContent.startsWith('5000')")
    assert browser.errors() == []


@pytest.mark.parametrize("trials", [0, 1])
def test_an_empty_study_and_one_without_a_model(
    trials: int, browser: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    file.write_text(html_of(study(trials)), encoding="utf-8")
    browser.open(file)
    browser.draw_all()
    assert browser.js(MATCHES) == f"{trials} of {trials} trials"
    assert browser.errors() == []


def test_what_a_user_named_is_text_and_no_script(browser: Browser, tmp_path: Path) -> None:
    from raytuner.space import Categorical, Float, Space

    evil = "</script><script>window.hit = 1</script><img src=x onerror='window.hit = 1'>"
    history = History(
        Space({evil: Float(0, 1), "choice": Categorical([evil, "b"])}), metric=evil, mode="max"
    )
    for i in range(12):
        history.add(f"t{i}", {evil: i / 12, "choice": evil if i % 2 else "b"})
        history.report(f"t{i}", 1, float(i))
        history.end(f"t{i}", TrialState.COMPLETED if i else TrialState.FAILED, evil)
    file = tmp_path / "evil.html"
    file.write_text(html_of(history), encoding="utf-8")
    browser.open(file)
    browser.draw_all()
    browser.driver.find_element(By.CSS_SELECTOR, "#failures .trial").click()
    assert browser.js("return window.hit ?? null") is None
    assert evil in browser.driver.find_element(By.ID, "detail").text
    assert browser.errors() == []


def test_a_live_page_follows_the_study(browser: Browser, tmp_path: Path) -> None:
    history = study(12, live=2)
    with Server(lambda: history, tmp_path, port=0) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        try:
            browser.open(server.url)
            browser.wait("document.querySelector('#live').textContent === 'live'")
            show(browser, "plot-incumbent")
            browser.driver.find_element(By.ID, "query").send_keys("adam")
            browser.wait("!document.querySelector('#matches').textContent.startsWith('12')")
            matches = browser.js(MATCHES)
            for trial_id in history.live():
                history.report(trial_id, 2, 0.01)
                history.end(trial_id, TrialState.COMPLETED)
            history.set_meta("finished", True)
            server._next_read = 0.0
            browser.wait("document.querySelector('#live').textContent === 'ended'")
            browser.wait("document.querySelector('.big').textContent.includes('0.01')")
            # What was typed and drawn is still there.
            assert browser.js("return document.querySelector('#query').value") == "adam"
            assert browser.js(MATCHES) == matches
            assert browser.js(
                "return document.getElementById('plot-incumbent').classList"
                ".contains('js-plotly-plot')"
            )
            assert browser.errors() == []
        finally:
            server.shutdown()
