"""All that the paper states: settings, strengths, its numbers, and what it says of its results."""

from dataclasses import dataclass

PAPER_TEST_FILMS = 900
HEAD_UNITS = 64
# Table I: parameters, and test films of 900 that the fine-tuned classifier got right.
PAPER_MODELS = {"VGG16": (14_747_715, 830), "InceptionV3": (21_934_307, 811), "DenseNet201": (18_452_803, 871)}
# What the parameters turn out to be when the head is counted layer by layer.
PARAMETER_NOTES = {
    "VGG16": "the paper's number is that of its head without the batch normalisation",
    "InceptionV3": "the paper's number looks like a slip of the pen",
}
HEAD_RATE, HEAD_DECAY, HEAD_BATCH = 5e-4, 5e-6, 64  # phase 1: learning rate, legacy Keras's decay a step, films a step

SINGLE_STEP_STRENGTHS = (0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03)
ITERATIVE_STRENGTHS = (0.0005, 0.001, 0.0015, 0.002, 0.0025, 0.003)
STEPS = 10  # T of the iterative attacks
PAPER_ATTACKS = ("fgsm", "fgnm", "bim", "binm", "pgd", "pgdnm")

# Figures 2 and 3: attack, and the smaller of their two strengths a factor of ten apart.
EXAMPLES = {"fgnm": 0.003, "pgdnm": 0.0003}
EXAMPLE_FACTOR = 10

PAPER_CONDITION = ("VGG16", "paper")  # source model and condition of the paper's Tables II and III
PAPER_BEST = {"fgsm": 69, "fgnm": 66, "pgdnm": 62}  # test films right under each attack where it is strongest, white-box
NOISE_GAIN = 1000  # the paper shows the noise a thousand times larger


@dataclass(frozen=True)
class Said:
    """A sentence of the paper about its results that can be tested.

    Attributes:
        text: what it says, in short.
        number: what it states, in `unit`; None if it states none.
        unit: "%", or "points" of accuracy, or "" for a plain count.
        note: what else it states of the number.
    """

    text: str
    number: float | None = None
    unit: str = "points"
    note: str = ""


# FGNM leaves so many points less than FGSM strictly between two strengths; from where on that narrows, and both lower accuracy
# by so many points; below which strength no-sign is called more effective.
GAP_POINTS, GAP_STRENGTHS, NARROW_FROM, FALL_POINTS, AHEAD_BELOW = 30, (0.001, 0.005), 0.006, 80, 0.01
PAPER_SAYS = {
    "best fgsm": Said("Lowest accuracy under FGSM", 7.67, "%", "69/900 at 0.01"),
    "best fgnm": Said("Lowest accuracy under FGNM", 7.33, "%", "66/900 at 0.02"),
    "best pgdnm": Said("Lowest accuracy under PGDNM", 6.89, "%", "62/900"),
    "gap": Said("FGNM leaves fewer right than FGSM between 0.001 and 0.005", GAP_POINTS, note="about"),
    "narrows": Said("That gap narrows from 0.006 on"),
    "ahead": Said("No-sign is the more effective single step below 0.01"),
    "fall": Said("From 0.006 to 0.03 FGSM and FGNM lower accuracy", FALL_POINTS, note="about"),
    "white box": Said("White-box attacks do more than black-box ones"),
    "black box": Said("Black-box models are fooled as well"),
    "strength": Said("Black-box attacks grow with strength"),
    "strength white": Said("Accuracy of the white-box model falls with strength (Figure 4)"),
    "iterative": Said("No-sign beats sign among iterative attacks (Table III)"),
    "start": Said("PGD does as BIM does", 0, note="almost"),
    "strongest": Said("PGDNM is the strongest attack"),
    "steps": Said("Ten steps do more than one of the same total strength"),
    "figure 4": Said("Figure 4's plots agree where strength = alpha x T", 0, note="almost"),
}
