"""What the tests ask of figures."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from nosign.output import plot


def panels(figure):
    """Return the axes of a figure by title."""
    return {axes.get_title(): axes for axes in figure.get_axes()}


def lines(axes):
    """Return the attacks' lines of a panel by label."""
    handles, labels = axes.get_legend_handles_labels()
    return dict(zip(labels, handles))


def check_words(figure):
    """Check that a figure has the width of a page and that its words are at least seven points high and lie inside it."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    assert figure.get_figwidth() == pytest.approx(plot.WIDTH) == 7.16
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 7
    drawn, page = figure.get_tightbbox(canvas.get_renderer()), figure.bbox_inches
    assert page.x0 <= drawn.x0 and drawn.x1 <= page.x1 and page.y0 <= drawn.y0 and drawn.y1 <= page.y1
