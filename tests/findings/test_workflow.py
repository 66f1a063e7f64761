"""Figure 1: every word in its box, every backbone and attack named."""

from drawn import check_words
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text

from nosign.attacks.catalogue import ATTACKS
from nosign.classifiers.catalogue import BACKBONES
from nosign.findings import workflow
from nosign.paper import PAPER_ATTACKS


def test_workflow_words_lie_inside_their_boxes():
    figure = workflow.draw_workflow()
    FigureCanvasAgg(figure).draw()
    boxes = [patch.get_window_extent() for patch in figure.get_axes()[0].patches if isinstance(patch, FancyBboxPatch)]
    for text in figure.get_axes()[0].texts:
        extent = text.get_window_extent()
        holding = [area for area in boxes if area.contains(*extent.p0) and area.contains(*extent.p1)]
        assert len(holding) >= (1 if text.get_ha() == "left" else 2), text  # headings stand in their stage's frame


def test_workflow_names_every_backbone_and_the_papers_attacks():
    words = "\n".join(text.get_text() for text in workflow.draw_workflow().findobj(Text)).split()
    assert {*BACKBONES, "VGG16*", *(ATTACKS[name].title for name in PAPER_ATTACKS)} <= set(words)


def test_its_words_can_be_read():
    check_words(workflow.draw_workflow())
