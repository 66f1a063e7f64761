"""All that the paper states: settings, strengths, its numbers."""

PAPER_TEST_FILMS = 900
HEAD_UNITS = 64
# Table I: parameters, and test films of 900 that the fine-tuned classifier got right.
PAPER_MODELS = {"VGG16": (14_747_715, 830), "InceptionV3": (21_934_307, 811), "DenseNet201": (18_452_803, 871)}
HEAD_RATE, HEAD_DECAY, HEAD_BATCH = 5e-4, 5e-6, 64  # phase 1: learning rate, legacy Keras's decay a step, films a step

SINGLE_STEP_STRENGTHS = (0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03)
ITERATIVE_STRENGTHS = (0.0005, 0.001, 0.0015, 0.002, 0.0025, 0.003)
STEPS = 10  # T of the iterative attacks
PAPER_ATTACKS = ("fgsm", "fgnm", "bim", "binm", "pgd", "pgdnm")

# Figures 2 and 3: attack, and the smaller of their two strengths a factor of ten apart.
EXAMPLES = {"fgnm": 0.003, "pgdnm": 0.0003}
EXAMPLE_FACTOR = 10

PAPER_CONDITION = ("VGG16", "paper")  # source model and condition of the paper's Tables II and III
PAPER_BEST = (("fgsm", 7.67, 0.01), ("fgnm", 7.33, 0.02), ("pgdnm", 6.89, None))  # attack, accuracy in %, strength
PAPER_GAP = ("fgsm", "fgnm", 30, 0.001, 0.005)  # sign, no-sign, points apart, strengths strictly between
NOISE_GAIN = 1000  # the paper shows the noise a thousand times larger
