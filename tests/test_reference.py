"""The numbers in README and docs are those of the rows in results/reference."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from nosign.errors import UserError
from nosign.output.plot import render_figures
from nosign.publish import describe_all
from results.reference.__main__ import (
    BESIDE,
    FIGURES,
    MARKED,
    STUDY,
    TEXTS,
    blocks,
    claim,
    decimal,
    filled,
    read_reference,
    signed,
    with_others,
)


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    parts = {part: describe_all(read_reference(tmp_path_factory.mktemp(part) / "rows", part)) for part in (STUDY, *BESIDE)}
    return with_others(parts.pop(STUDY), parts)


def test_every_marked_text_is_what_the_rows_say(described, root):
    written, marked = blocks(described), set()
    for name in TEXTS:
        text = (root / name).read_text(encoding="utf-8")
        marked |= {match["name"] for match in MARKED.finditer(text)}
        assert filled(text, written) == text, f"{name}: make reference writes it anew"
    assert marked == set(written), "a block that no text holds, or the other way round"


@pytest.mark.parametrize("name", FIGURES)
def test_the_figures_shown_are_those_that_the_rows_give(described, root, name):
    network, wanted = FIGURES[name]
    drawing = next(one for finding in described[network] for one in finding.drawings if one.name == wanted)
    figures = render_figures({wanted: drawing.figure})
    with Image.open(io.BytesIO(figures[f"{wanted}.png"])) as drawn, Image.open(root / name) as kept:
        assert drawn.size == kept.size
        difference = np.abs(np.asarray(drawn.convert("L"), float) - np.asarray(kept.convert("L"), float))
    assert difference.mean() < 0.5, "make reference draws it anew"  # fonts differ a little between machines


@pytest.mark.parametrize(
    "value, digits, text", [(0.7234, 3, "0.723"), (-0.08, 2, "\N{MINUS SIGN}0.08"), (-0.001, 2, "0.00"), (6.75, 0, "7")]
)
def test_numbers_have_a_true_minus_and_none_before_a_zero(value, digits, text):
    assert decimal(value, digits) == text


def test_a_signed_number_says_so():
    assert [signed(value, 1) for value in (2.34, -2.34, 0)] == ["+2.3", "\N{MINUS SIGN}2.3", "0.0"]


def test_a_sentence_that_the_rows_do_not_bear_out_stops_the_command():
    assert claim(True, "no-sign needs less") == "no-sign needs less"
    with pytest.raises(UserError, match=re.escape("'no-sign needs less'")):
        claim(False, "no-sign needs less")


def test_a_marked_block_without_a_text_stops_the_command():
    with pytest.raises(UserError, match="nowhere"):
        filled("<!-- from texts.jinja: nowhere -->\n<!-- end -->\n", {})


def test_a_block_is_filled_and_nothing_else_is_touched():
    before = "a\n<!-- from texts.jinja: one -->\nold\n\nlines\n<!-- end -->\nb\n<!-- from texts.jinja: two -->\n<!-- end -->\n"
    after = filled(before, {"one": "new", "two": "x"})
    assert after == "a\n<!-- from texts.jinja: one -->\nnew\n<!-- end -->\nb\n<!-- from texts.jinja: two -->\nx\n<!-- end -->\n"
    assert filled(after, {"one": "new", "two": "x"}) == after
