"""Figures 2 and 3: one film before and after an attack."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from nosign.attacks.catalogue import ATTACKS
from nosign.dataset import CLASSES
from nosign.finished import Run
from nosign.output.finding import Drawing, Finding
from nosign.output.plot import SMALL_POINTS, STYLE, WIDTH
from nosign.output.table import SweepName
from nosign.paper import NOISE_GAIN, PAPER_CONDITION
from nosign.rows import Example, read_example

HEADING = "One film under attack"
FIGURES = {"fgnm": "2", "pgdnm": "3"}  # attack and number of the figure


def describe(run: Run) -> Finding:
    """Return Figures 2 and 3, those whose film `attack.py` kept."""
    drawings = []
    for attack, number in FIGURES.items():
        example = read_example(run.results, attack) if run.sweeps else None
        if example is None:
            continue
        title = ATTACKS[attack].title
        caption = f"One film under {title} at two strengths a factor of ten apart: the noise, made larger, and the film."
        alt = f"Five films side by side: the original, and for two strengths of {title} the noise and the adversarial film."
        figure = draw_example(example, run.films_are)
        sweep = SweepName(*PAPER_CONDITION)
        drawings.append(Drawing(f"figure{number}", f"Figure {number}", caption, alt, figure, sweep))
    return Finding("examples", HEADING, (), tuple(drawings))


def amplified_noise(original: np.ndarray, adversarial: np.ndarray) -> np.ndarray:
    """Return the noise as an image: 0.5 + 1000 (adversarial - original), clipped to [0, 1]; same shape as the film."""
    return np.clip(0.5 + NOISE_GAIN * (adversarial - original), 0, 1)


def verdict(prediction: int, confidence: float, label: int) -> str:
    """Return what stands under a film: predicted class, confidence, and whether that is right, in words."""
    mark = "\N{CHECK MARK} right" if prediction == label else "\N{BALLOT X} wrong"
    return f"{CLASSES[prediction]}, {100 * confidence:.1f} %\n{mark}"


@matplotlib.rc_context(STYLE)
def draw_example(example: Example, films_are: str) -> Figure:
    """Draw Figure 2 or 3: a film, then noise and adversarial film at a small and at a large strength."""
    films = [example.original]
    headings, below = ["original\ntest film"], [verdict(example.predictions[0], example.confidences[0], example.label)]
    for position, (adversarial, strength) in enumerate(zip(example.adversarial, example.strengths), start=1):
        films += [amplified_noise(example.original, adversarial), adversarial]
        headings += [f"noise × {NOISE_GAIN}\nstrength {strength:g}", f"adversarial\nstrength {strength:g}"]
        below += ["", verdict(example.predictions[position], example.confidences[position], example.label)]
    figure = Figure(figsize=(WIDTH, 2.55), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.04, wspace=0.02)
    for position, (axes, film) in enumerate(zip(figure.subplots(1, len(films)), films)):
        axes.imshow(np.clip(film, 0, 1), vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"({'abcde'[position]}) {headings[position]}")
        axes.set_xlabel(below[position], linespacing=1.3)
    figure.supxlabel(example_note(example, films_are), fontsize=SMALL_POINTS)
    return figure


def example_note(example: Example, films_are: str) -> str:
    """Return the caption line of Figure 2 or 3."""
    film = films_are.removesuffix("s")
    return (
        f"{ATTACKS[example.attack].title}, {film} {example.film}. True class: {CLASSES[example.label]}; "
        f"below each film, the source model's class and confidence.\n"
        f"Noise is shown as 0.5 + {NOISE_GAIN} × (adversarial − original), clipped to [0, 1]: "
        "mid-grey means unchanged."
    )
