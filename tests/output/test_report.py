"""The report: complete in itself, escaped, small; and, in a real browser, a viewer that says what the cells' files say."""

import io
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nosign.attacks.catalogue import ATTACKS
from nosign.dataset import CLASSES
from nosign.errors import UserError
from nosign.manifest import write_manifest
from nosign.output.finding import Drawing, Finding, Sentence
from nosign.output.report import page, pictures, viewer, what_was_run
from nosign.output.table import SweepName, Table, numbers

SIZE = 24
FILMS, LABELS = [41, 57], [0, 1]
MODELS = ["VGG16", "InceptionV3", "DenseNet201"]
CELLS = [("fgsm", 0.001), ("fgsm", 0.01), ("fgsm", 0.03), ("fgnm", 0.001), ("fgnm", 0.01), ("bim", 0.003)]


def probabilities(rng):
    """Return softmax outputs of every model for every film, float32 [models, films, classes]."""
    return rng.dirichlet(np.full(3, 0.4), (len(MODELS), len(FILMS))).astype(np.float32)


def viewer_arrays(rng, strength, size=SIZE):
    """Return the arrays of a `*.viewer.npz` file, all but the films' changes the same for every strength."""
    fixed = np.random.default_rng(5)
    original = fixed.integers(0, 256, (len(FILMS), size, size, 1), dtype=np.uint8).repeat(3, axis=3)
    change = rng.normal(0, strength, original.shape).astype(np.float16)
    return {
        "films": np.array(FILMS),
        "labels": np.array(LABELS),
        "models": np.array(MODELS),
        "original": original,
        "change": change,
        "clean_probabilities": probabilities(fixed),
        "probabilities": probabilities(rng),
    }


def write_results(folder, cells=CELLS, sweep="VGG16/paper", size=SIZE, seed=11):
    """Write a results folder with films to show; return dict from (attack, strength) to a cell's arrays."""
    rng, written = np.random.default_rng(seed), {}
    for attack, strength in cells:
        path = folder / "attacks" / sweep / attack / f"{strength:g}.viewer.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        written[attack, strength] = viewer_arrays(rng, strength, size)
        np.savez_compressed(path, **written[attack, strength])
        pd.DataFrame(
            {
                "film": [*FILMS, 99],
                "ssim": [0.95, 0.999, 1],
                "psnr": [40, 50, np.inf],
                "local_ratio": [2, 0.5, 0],
                "jnd_ratio": [0.25, 3, 0],
            }
        ).to_csv(path.with_name(f"{strength:g}.csv"), index=False)
    write_manifest(folder, stage="attack.py", settings={"films": 99}, started=0, synthetic=True)
    write_manifest(
        folder / "attacks" / sweep,
        stage="attack.py",
        started=0,
        finished=True,
        settings={"films": 99, "steps": 7, "seed": 3, "models": {"VGG16": "ab" * 32}},
        health={"warnings": ["gradients <b>mislead</b>"], "unbounded_accuracy": 0.25},
    )
    return written


PAPER, BUDGET, OTHER = SweepName("VGG16", "paper"), SweepName("VGG16", "budget"), SweepName("InceptionV3", "paper")


def some_table(name="table2", text="61.11", sweep=None):
    """Return a table of two rows, its last entry bold."""
    rows = [["0.001", "70.00", text], ["0.01", "50.00", "40.00"]]
    columns = (*numbers("Strength"), *numbers("FGSM", "FGNM", group="VGG16*"))
    bold = np.array([[0, 0, 0], [0, 0, 1]], bool)
    return Table(name, "Table II", "Accuracy <of> all & sundry.", pd.DataFrame(rows), columns, rows, bold, sweep)


def some_drawing(name="figure4", sweep=None):
    """Return a drawing without a figure: the report reads its PNG."""
    return Drawing(name, name.title(), f"Accuracy against strength in {name}.", f"Lines of {name}.", None, sweep)


def some_finding(sentences=("FGNM is better at 3 of 5 strengths.",), name="accuracy", **parts):
    """Return a finding with one table and one figure, or with `parts`."""
    parts = {"tables": (some_table(),), "drawings": (some_drawing(),), **parts}
    sentences = tuple(Sentence(text, answer=True) if isinstance(text, str) else text for text in sentences)
    return Finding(name, f"About {name}", sentences=sentences, **parts)


def make_report(folder, *findings, runs=None):
    """Write a report on findings, by itself of the one run in the folder, and return its path."""
    findings = findings or (some_finding(),)
    drawing = io.BytesIO()
    Image.fromarray(np.full((60, 2000, 3), 255, np.uint8)).save(drawing, "PNG")
    figures = {f"{one.name}.png": drawing.getvalue() for finding in findings for one in finding.drawings}
    path = folder / "report.html"
    path.write_text(page.report_page(runs or {"": (folder, folder / "model")}, findings, figures), encoding="utf-8")
    return path


def about(*sweeps, name="accuracy"):
    """Return a finding with two sentences, a table and a figure about each sweep."""
    sentences = [
        Sentence(f"{place} sentence on {sweep.source} {sweep.condition}.", sweep, answer=True)
        for sweep in sweeps
        for place in ("First", "Second")
    ]
    tables = tuple(some_table(f"table2-{sweep.source}-{sweep.condition}", sweep=sweep) for sweep in sweeps)
    drawings = tuple(some_drawing(f"figure4-{sweep.source}-{sweep.condition}", sweep) for sweep in sweeps)
    return some_finding(sentences, name, tables=tables, drawings=drawings)


class Page(HTMLParser):
    """Collects a page's elements: (tag, attributes), and the text outside scripts and styles."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.words, self.text = [], [], path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] not in ("script", "style"):
            self.words.append(data)

    def all(self, tag):
        """Return the attributes of every element of a name."""
        return [attributes for name, attributes in self.elements if name == tag]

    def index(self):
        """Return what the script reads."""
        return json.loads(re.search(r'id="viewer-index">(.*?)</script>', self.text).group(1))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small report: its path and the arrays of its cells."""
    folder = tmp_path_factory.mktemp("report")
    cells = write_results(folder)
    return make_report(folder), cells


@pytest.fixture(scope="module")
def two_sweeps(tmp_path_factory):
    """A report on three sweeps, one without films; the second has other cells, and its BIM kept the first film only."""
    folder = tmp_path_factory.mktemp("two")
    write_results(folder)
    cells = write_results(folder, [("fgnm", 0.02), ("bim", 0.003)], "VGG16/budget", seed=12)
    first = {
        name: array[:, :1] if "probabilities" in name else array if name == "models" else array[:1]
        for name, array in cells["bim", 0.003].items()
    }
    np.savez(folder / "attacks/VGG16/budget/bim/0.003.viewer.npz", **first)
    return make_report(folder, some_finding(), about(PAPER, BUDGET, OTHER, name="sweeps")), cells


def test_nothing_is_loaded_from_elsewhere(small):
    page = Page(small[0])
    loading = [
        attributes[name]
        for _, attributes in page.elements
        for name in ("src", "srcset", "data", "poster")
        if name in attributes
    ]
    assert loading and all(address.startswith("data:") for address in loading)
    assert all(link["href"] == "data:," for link in page.all("link"))
    assert all("src" not in script for script in page.all("script"))
    assert not re.search(r"@import|url\(", page.text)
    policy = page.all("meta")[1]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert policy["content"].startswith("default-src 'none'; img-src data:;")


def test_page_has_language_title_and_one_id_each(small):
    page = Page(small[0])
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert page.all("html")[0]["lang"] == "en" and len(ids) == len(set(ids))
    assert "The films are synthetic" in "".join(page.words).split("Contents")[0]
    targets = [link["href"][1:] for link in page.all("a") if link["href"].startswith("#")]
    assert set(targets) <= set(ids) and {"finding-accuracy", "figure-figure4", "viewer", "run"} <= set(targets)


def test_contents_name_each_finding_once_and_no_table_or_figure(two_sweeps):
    contents = re.search("<nav.*</nav>", two_sweeps[0].read_text(), re.DOTALL).group()
    assert re.findall('href="(.*?)"', contents) == ["#finding-accuracy", "#finding-sweeps", "#viewer", "#run"]


def test_every_picture_has_an_alternative_text(small):
    pictures = Page(small[0]).all("img")
    assert [picture["alt"] for picture in pictures] == ["Lines of figure4."]


def test_figures_are_made_smaller(small):
    picture = Page(small[0]).all("img")[0]
    assert (picture["width"], picture["height"]) == ("1432", "43")


def test_manifests_are_told(small):
    words = "".join(Page(small[0]).words)
    for expected in (
        "1970-01-01 00:00:00",
        "gradients <b>mislead</b>",
        "each step as long as the strength",
        "abababababab\u2026",
        "python attack.py",
        "unbounded accuracy",
    ):
        assert expected in words, expected


def test_manifests_of_the_classifiers_are_told(tmp_path):
    runs = {name: (tmp_path / "none", tmp_path / name) for name in ("", "seed-0", "seed-1", "absent")}
    for name in ("", "seed-0", "seed-1"):
        write_manifest(runs[name][1], stage="train_finetune.py", settings={"VGG16": {"rate": 1e-4}}, started=0)
    assert [title for title, _ in what_was_run.run_details(runs)] == [
        "Training of the classifiers",
        "Training of the classifiers seed-0",
        "Training of the classifiers seed-1",
    ]


def test_texts_from_files_are_escaped(tmp_path):
    bad = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    write_results(tmp_path)
    arrays = viewer_arrays(np.random.default_rng(0), 0.1)
    for attack, strength in CELLS:
        path = tmp_path / "attacks/VGG16/paper" / attack / f"{strength:g}.viewer.npz"
        np.savez_compressed(path, **{**arrays, "models": np.array([bad, "b", "c"])})
    clean = Page(make_report(tmp_path))
    drawing = Drawing("figure4", bad, bad, bad, None)
    spoilt = Page(make_report(tmp_path, some_finding([bad], tables=(some_table(text=bad),), drawings=(drawing,))))
    assert [tag for tag, _ in clean.elements] == [tag for tag, _ in spoilt.elements]
    assert clean.index()["sweeps"][0]["models"][0] == bad and "<img src=x" not in clean.text + spoilt.text
    assert "Accuracy <of> all & sundry." in spoilt.words


def test_index_holds_the_probabilities_of_every_cell(small):
    path, cells = small
    index = Page(path).index()
    attacks = index["sweeps"][0]["attacks"]
    found = {(attack["name"], float(cell["strength"])): cell["films"] for attack in attacks for cell in attack["cells"]}
    assert list(found) == [(attack, strength) for attack in ATTACKS for name, strength in CELLS if attack == name]
    for key, arrays in cells.items():
        for place, film in enumerate(FILMS):
            np.testing.assert_allclose(found[key][str(film)]["probabilities"], arrays["probabilities"][:, place], atol=1e-6)
    assert index["sweeps"][0]["headings"] == ["VGG16*", "InceptionV3", "DenseNet201"]


def test_measures_name_the_criteria_by_which_a_change_shows(small):
    measures = [film["measures"] for film in Page(small[0]).index()["sweeps"][0]["attacks"][0]["cells"][0]["films"].values()]
    assert "; visible by local mean (2 of its bound), SSIM (0.9500); invisible by JND (0.25 of its bound)" in measures[0]
    assert "; visible by JND (3 of its bound); invisible by local mean (0.5 of its bound), SSIM (0.9990)" in measures[1]


def restored(levels, sizes):
    """Return the change that levels stand for."""
    return np.sign(levels) * np.array(sizes)[abs(levels.astype(int))]


@pytest.mark.parametrize("coarseness", [rung[1] for rung in pictures.CHANGE_LADDER])
def test_levels_keep_a_sign_step_exactly(coarseness):
    change = np.float32(0.003) * np.sign(np.random.default_rng(1).normal(0, 1, (32, 32, 3))).astype(np.float32)
    change[:9] = 0  # a gradient of zero
    np.testing.assert_allclose(restored(*pictures.levels_of_change(change, coarseness)), change, rtol=1e-5)


def test_levels_keep_the_mean_of_small_components_and_the_size_of_large_ones():
    change = np.random.default_rng(1).normal(0, 0.003, (64, 64, 3)).astype(np.float32)
    change[5, 5] = [0.1, -0.2, 0.05]
    again = restored(*pictures.levels_of_change(change, 1.9))
    np.testing.assert_allclose(again[5, 5], change[5, 5], rtol=0.2)
    # An even quantiser of a normal variable whose steps are 1.9 x 0.8 standard deviations wide correlates at 0.91.
    assert np.corrcoef(again.ravel(), change.ravel())[0, 1] > 0.91
    assert (pictures.levels_of_change(np.zeros((4, 4, 3), np.float32), 1.9)[0] == 0).all()


@pytest.mark.parametrize("size, gain", [(0.5, 1), (0.003, 100), (0.0024, 200), (0.0005, 1000), (0, 1000)])
def test_gain_is_the_largest_round_one_that_keeps_the_noise_in_range(size, gain):
    assert viewer.fitting_gain(np.full((8, 8, 3), size, np.float32)) == gain


def test_pictures_keep_to_their_allowance(tmp_path, monkeypatch):
    write_results(tmp_path, size=64)
    sizes = {}
    for allowance in (40_000, 1_000_000):
        monkeypatch.setattr(pictures, "PICTURE_BYTES", allowance)
        encoded = viewer.make_viewer({"": tmp_path})["pictures"]
        sizes[allowance] = sum(len(picture) * 3 / 4 for _, picture in encoded)
    assert sizes[40_000] <= 41_000 < sizes[1_000_000]


def test_fewer_films_are_shown_where_there_are_more_cells(tmp_path, monkeypatch):
    write_results(tmp_path)
    monkeypatch.setattr(viewer, "MOST_PICTURES", len(CELLS))
    made = viewer.make_viewer({"": tmp_path})
    assert [film["film"] for film in json.loads(made["index"])["sweeps"][0]["films"]] == FILMS[:1]
    assert len(made["pictures"]) == 1 + len(CELLS)


def test_equal_inputs_give_equal_bytes(small, tmp_path):
    again = make_report(tmp_path, runs={"": (small[0].parent, tmp_path / "model")})
    assert again.read_bytes() == small[0].read_bytes()


def test_no_films_to_show_gives_a_page_that_says_so(tmp_path):
    page = Page(make_report(tmp_path))
    assert "There are no films to show" in "".join(page.words)
    assert "The results folder holds no manifest of a sweep." in "".join(page.words)
    assert not page.all("canvas") and page.all("table")


def test_several_seeds_show_the_films_of_the_first(tmp_path):
    runs = {name: (tmp_path / name, tmp_path / "model") for name in ("seed-0", "seed-1")}
    for results, _ in runs.values():
        write_results(results)
    page = Page(make_report(tmp_path, runs=runs))
    words = "".join(page.words)
    assert "The films are those of seed-0." in words and words.count("gradients <b>mislead</b>") == 2
    links = {link.get("href") for link in page.all("a")}
    assert {"seed-0/report.html", "seed-1/report.html"} <= links  # each has its own


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path, arrays: path.write_bytes(path.read_bytes()[:2000]),
        lambda path, arrays: path.write_bytes(b"not an archive"),
        lambda path, arrays: np.savez(path, **{name: array for name, array in arrays.items() if name != "change"}),
        lambda path, arrays: np.savez(path, **{**arrays, "models": np.array([{}, {}, {}])}),
        lambda path, arrays: np.savez(path, **{**arrays, "labels": np.array([0, 3])}),
        lambda path, arrays: np.savez(path, **{**arrays, "change": arrays["change"][:, :-1]}),
        lambda path, arrays: np.savez(path, **{**arrays, "change": arrays["change"] * np.float16(np.nan)}),
        lambda path, arrays: np.savez(path, **{**arrays, "probabilities": arrays["probabilities"][..., :2]}),
        lambda path, arrays: np.savez(path, **{**arrays, "models": np.array(MODELS[::-1])}),
    ],
)
def test_a_malformed_file_of_viewer_films_is_one_clear_line(tmp_path, spoil):
    cells = write_results(tmp_path)
    path = tmp_path / "attacks/VGG16/paper/fgnm/0.01.viewer.npz"
    spoil(path, cells["fgnm", 0.01])
    with pytest.raises(UserError, match=r"fgnm/0\.01\.viewer\.npz: .*remove it and run attack\.py again") as caught:
        viewer.make_viewer({"": tmp_path})
    assert "\n" not in str(caught.value)


def test_a_file_of_viewer_films_in_a_strange_place_is_refused(tmp_path):
    write_results(tmp_path, cells=[("fgsm", 0.1)], sweep="VGG16/nonsense")
    with pytest.raises(UserError, match="SOURCE/CONDITION/ATTACK/STRENGTH"):
        viewer.make_viewer({"": tmp_path})


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window, driven by selenium; it logs what pages load and complain of."""
    selenium = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs Debian's packages chromium and chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    yield opened
    opened.quit()


def opened(browser, path):
    """Open a page from disk and wait for its pictures."""
    browser.get_log("performance"), browser.get_log("browser")
    browser.get(path.resolve().as_uri())
    wait_for_pictures(browser)
    return browser


def wait_for_pictures(browser):
    """Wait until the pictures are those that the verdict is about."""
    from selenium.webdriver.support.ui import WebDriverWait

    script = (
        "let v = document.getElementById('verdict').textContent; "
        "return v && (document.getElementById('viewer-body').dataset.drawn || '').endsWith(v)"
    )
    WebDriverWait(browser, 10).until(lambda page: page.execute_script(script))


def by(browser, selector):
    """Return the elements that a CSS selector finds."""
    return browser.find_elements("css selector", selector)


def verdict(browser):
    """Return the sentences about what is shown and what the models see."""
    return by(browser, "#verdict")[0].get_attribute("textContent")


def press(browser, selector, key):
    """Give an element the focus and press a key."""
    found = by(browser, selector)[0]
    browser.execute_script("arguments[0].focus()", found)
    browser.switch_to.active_element.send_keys(key)
    wait_for_pictures(browser)


def expected_verdict(arrays, attack, strength, place):
    """Return the sentence that a cell's numbers ask for."""
    words = [f"{ATTACKS[attack].title} at strength {strength:g} on film {FILMS[place]} ({CLASSES[LABELS[place]]})."]
    for model, seen in zip(["VGG16*", *MODELS[1:]], arrays["probabilities"][:, place]):
        mark = "\u2713 right" if seen.argmax() == LABELS[place] else "\u2717 wrong"
        words.append(f"{model}: {CLASSES[seen.argmax()]}, {100 * seen.max():.1f} %, {mark}.")
    return " ".join(words)


def canvas_pixels(browser, name):
    """Return what a canvas shows, int [height, width, 3]."""
    script = (
        "let c = document.getElementById(arguments[0]);"
        "return [c.height, c.width, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]"
    )
    height, width, values = browser.execute_script(script, name)
    return np.array(values).reshape(height, width, 4)[..., :3]


def test_slider_film_and_attack_by_keyboard_give_the_numbers_of_the_cell(small, browser):
    from selenium.webdriver.common.keys import Keys

    path, cells = small
    opened(browser, path)
    assert verdict(browser) == expected_verdict(cells["fgsm", 0.01], "fgsm", 0.01, 0)
    press(browser, "#strength", Keys.ARROW_RIGHT)
    assert verdict(browser) == expected_verdict(cells["fgsm", 0.03], "fgsm", 0.03, 0)
    press(browser, "#strength", Keys.ARROW_LEFT)
    assert by(browser, "#strength-value")[0].text == "0.01"
    assert by(browser, "#strength")[0].get_attribute("aria-valuetext") == "strength 0.01"
    press(browser, "#attacks input:checked", Keys.ARROW_RIGHT)
    assert verdict(browser) == expected_verdict(cells["fgnm", 0.01], "fgnm", 0.01, 0)
    press(browser, "#films input:checked", Keys.ARROW_RIGHT)
    assert verdict(browser) == expected_verdict(cells["fgnm", 0.01], "fgnm", 0.01, 1)
    press(browser, "#attacks input:checked", Keys.ARROW_RIGHT)  # BIM was run at one other strength only
    assert verdict(browser) == expected_verdict(cells["bim", 0.003], "bim", 0.003, 1)
    assert by(browser, "#verdict")[0].get_attribute("aria-live") == "polite"


def choose(browser, name, value):
    """Choose a source model or a condition at the top of the page."""
    script = "let s = arguments[0]; s.value = arguments[1]; s.dispatchEvent(new Event('change'))"
    browser.execute_script(script, by(browser, f"#{name}")[0], value)
    if by(browser, "#viewer-body")[0].is_displayed():
        wait_for_pictures(browser)


def displayed(browser, selector):
    """Return the texts of the elements that a selector finds and that are shown."""
    return [part.text for part in by(browser, selector) if part.is_displayed()]


def test_another_condition_keeps_the_film_and_the_attack_where_it_has_them(two_sweeps, browser):
    from selenium.webdriver.common.keys import Keys

    path, cells = two_sweeps
    opened(browser, path)
    press(browser, "#attacks input:checked", Keys.ARROW_LEFT)  # round to the last attack, BIM
    press(browser, "#condition", Keys.ARROW_DOWN)
    assert verdict(browser) == expected_verdict(cells["bim", 0.003], "bim", 0.003, 0)
    press(browser, "#films input:checked", Keys.ARROW_RIGHT)
    assert verdict(browser).endswith("This film was not kept at this strength.") and not by(browser, "#scores table")
    press(browser, "#attacks input:checked", Keys.ARROW_LEFT)
    assert verdict(browser) == expected_verdict(cells["fgnm", 0.02], "fgnm", 0.02, 1)


def test_the_choice_at_the_top_shows_its_sweep_and_hides_the_others(two_sweeps, browser):
    opened(browser, two_sweeps[0])
    for condition, meaning in (("paper", "each step as long"), ("budget", "every attack kept within")):
        choose(browser, "condition", condition)
        assert [meaning in text for text in displayed(browser, "#sweeps p")] == [True]
        own = [f"{place} sentence on VGG16 {condition}." for place in ("First", "Second")]
        assert displayed(browser, ".answer li") == [*own, "FGNM is better at 3 of 5 strengths."]
        assert displayed(browser, "#finding-sweeps > p")[0] == own[0]
        figures = ["figure-figure4", f"figure-figure4-VGG16-{condition}"]
        assert [part.get_attribute("id") for part in by(browser, ".plate") if part.is_displayed()] == figures
        assert len(displayed(browser, "#finding-sweeps details.table")) == 1
        assert not displayed(browser, ".label")


@pytest.mark.parametrize(
    "names, first",
    [(("boundary", "figure4-budget", "seeds"), ["figure4-budget"]), (("boundary", "seeds"), ["seeds"]), ((), [])],
)
def test_figure_4_opens_the_page_or_else_the_spread_over_runs(tmp_path, names, first):
    path = make_report(tmp_path, some_finding(drawings=tuple(map(some_drawing, names))))
    opening = path.read_text().split('class="plates"')[1].split("<nav")[0]
    assert re.findall('<figure id="figure-(.*?)"', opening) == first


def test_a_source_without_the_condition_shows_its_first_one_and_that_it_has_no_films(two_sweeps, browser):
    opened(browser, two_sweeps[0])
    choose(browser, "condition", "budget")
    choose(browser, "source", "InceptionV3")
    assert displayed(browser, ".answer li")[0] == "First sentence on InceptionV3 paper."
    assert not by(browser, "#condition")[0].is_displayed()  # one only
    assert not by(browser, "#viewer-body")[0].is_displayed() and by(browser, "#viewer-none")[0].is_displayed()
    choose(browser, "source", "VGG16")
    assert by(browser, "#viewer-body")[0].is_displayed() and not by(browser, "#viewer-none")[0].is_displayed()


def test_one_sweep_leaves_nothing_to_choose(browser, tmp_path):
    write_results(tmp_path)
    opened(browser, make_report(tmp_path, about(PAPER)))
    assert not by(browser, "#choice")[0].is_displayed() and not by(browser, "[data-sweep], .label")
    assert displayed(browser, "#sweeps p") == ["Gradients from VGG16, condition paper: each step as long as the strength."]


def test_a_link_to_another_sweep_chooses_it_and_unfolds_what_it_leads_to(two_sweeps, browser):
    opened(browser, two_sweeps[0])
    browser.execute_script("location.hash = 'table-table2-VGG16-budget'")
    wait_for_pictures(browser)
    assert by(browser, "#table-table2-VGG16-budget table")[0].is_displayed()
    assert by(browser, "#condition")[0].get_attribute("value") == "budget"
    browser.execute_script("location.hash = 'finding-accuracy'")  # about no sweep
    assert by(browser, "#condition")[0].get_attribute("value") == "budget"


def test_folded_parts_open_for_print(two_sweeps, browser):
    opened(browser, two_sweeps[0])
    assert not any(part.get_attribute("open") for part in by(browser, "details"))
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert all(part.get_attribute("open") for part in by(browser, "details"))


def test_without_a_script_every_sweep_is_shown_and_labelled(two_sweeps, browser):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(two_sweeps[0].resolve().as_uri())
        labels = ["(VGG16, paper)", "(VGG16, budget)", "(InceptionV3, paper)"]
        assert displayed(browser, ".plate .label") == labels
        assert displayed(browser, "summary .label") == labels
        assert displayed(browser, ".answer li .label") == [label for label in labels for _ in range(2)]
        assert not by(browser, "#choice")[0].is_displayed() and len(displayed(browser, "#sweeps p")) == 3
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_first_screen_holds_the_answer_the_figure_and_the_way_to_the_viewer(two_sweeps, browser):
    for width, height in ((1440, 900), (400, 860)):
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        )
        try:
            opened(browser, two_sweeps[0])
            for selector in ("h1", "#choice", ".answer ul", ".answer a[href='#viewer']", ".plate img"):
                box = by(browser, selector)[0].rect
                assert box["y"] >= 0 and box["y"] + box["height"] <= height, (width, selector, box)
        finally:
            browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_score_tables_show_confidences_before_and_after(small, browser):
    path, cells = small
    opened(browser, path)
    arrays = cells["fgsm", 0.01]
    for model, table in enumerate(by(browser, "#scores table")):
        rows = [
            [cell.text for cell in row.find_elements("css selector", "td")]
            for row in table.find_elements("css selector", "tbody tr")
        ]
        before, after = arrays["clean_probabilities"][model, 0], arrays["probabilities"][model, 0]
        assert rows[:3] == [[f"{100 * b:.1f} %", f"{100 * a:.1f} %"] for b, a in zip(before, after)]
        assert rows[3] == ["\u2713 right" if seen.argmax() == LABELS[0] else "\u2717 wrong" for seen in (before, after)]


def test_pictures_are_the_film_and_the_film_plus_its_change(small, browser):
    from selenium.webdriver.common.keys import Keys

    path, cells = small
    opened(browser, path)
    press(browser, "#strength", Keys.END)
    arrays = cells["fgsm", 0.03]
    film, change = arrays["original"][0], arrays["change"][0].astype(np.float32)
    original, noise, adversarial = (canvas_pixels(browser, name) for name in ("original", "noise", "adversarial"))
    assert (original == film).all()
    assert abs(adversarial - np.clip(film + 255 * change, 0, 255)).max() < 4  # 0.03 of 255 levels, made coarse
    gain = float(re.search(r"\u00d7 (\d+)", by(browser, "#noise-text")[0].text).group(1))
    assert gain == viewer.fitting_gain(change)
    assert abs(noise - np.clip(127.5 + 255 * gain * change, 0, 255)).mean() < 5
    by(browser, "#swap")[0].click()
    wait_for_pictures(browser)
    assert (canvas_pixels(browser, "adversarial") == original).all()


def test_gain_of_one_shows_the_noise_at_its_true_size(small, browser):
    from selenium.webdriver.common.keys import Keys

    opened(browser, small[0])
    press(browser, "#strength", Keys.HOME)
    browser.execute_script("let s = document.getElementById('gain'); s.value = '1'; s.dispatchEvent(new Event('change'))")
    wait_for_pictures(browser)
    assert by(browser, "#noise-text")[0].text.startswith("\u00d7 1;")
    assert abs(canvas_pixels(browser, "noise") - 127.5).max() <= 2  # 0.001 of 255 levels, four standard deviations


def test_page_from_disk_asks_for_nothing_and_complains_of_nothing(small, browser):
    from selenium.webdriver.common.keys import Keys

    opened(browser, small[0])
    press(browser, "#strength", Keys.END)
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {
        event["params"]["request"]["url"].split(":")[0] for event in events if event["method"] == "Network.requestWillBeSent"
    }
    assert asked == {"file", "data"}
    assert browser.get_log("browser") == []
    assert not by(browser, "#picture-problem")[0].is_displayed()


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_screen(two_sweeps, browser, width):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    try:
        opened(browser, two_sweeps[0])
        for part in by(browser, "details"):
            browser.execute_script("arguments[0].open = true", part)
        page = "document.documentElement"
        wide = browser.execute_script(f"return [innerWidth, {page}.scrollWidth - {page}.clientWidth]")
        assert wide == [width, 0]
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_every_control_has_a_name_and_a_visible_focus(two_sweeps, browser):
    opened(browser, two_sweeps[0])
    for control in by(browser, "select, #viewer input, #viewer button, summary"):
        if control.is_displayed():
            assert control.accessible_name, control.get_attribute("outerHTML")
            browser.execute_script("arguments[0].focus({focusVisible: true})", control)
            outlined = browser.execute_script(
                "let c = arguments[0]; return [c, c.parentElement].map(e => getComputedStyle(e).outlineStyle)", control
            )
            assert "solid" in outlined, control.get_attribute("outerHTML")
