"""What stage 3's flags offer beside the paper's settings. Plain data; imports nothing heavy."""

SOURCE = "VGG16"
ATTACKED_SPLITS = ("test", "validation")
ALL_SOURCES = "all"
GREY = {"no": (False,), "only": (True,), "both": (False, True)}
STORING_STRENGTHS = (0.001, 0.003)
# The paper's groups of 64 give the same numbers in five times the memory; on a CPU no faster.
BATCH = 8
CONTROL_FILMS = 100
UNIVERSAL_FILMS = 300
