"""Check what the README promises of the small run: the models learn, and the attacks turn them."""

import sys
from pathlib import Path

import pandas as pd

LEAST_CLEAN = 0.85
# Share of its clean accuracy that VGG16 may keep at an attack's largest strength.
MOST_KEPT = {"fgsm": 2 / 3, "fgnm": 2 / 3, "bim": 1 / 3, "binm": 1 / 3, "pgd": 1 / 3, "pgdnm": 1 / 3}


def main(demo):
    """Print each promise beside what was found; return 1 if one is broken."""
    models = pd.read_csv(demo / "model" / "models.csv").set_index("model")
    checks = [(f"{name} clean accuracy", row.correct / row.films, ">=", LEAST_CLEAN) for name, row in models.iterrows()]
    clean = pd.read_csv(demo / "results" / "clean.csv")
    right = (clean["VGG16"] == clean["label"]).mean()
    for attack, share in MOST_KEPT.items():
        cells = (demo / "results" / "attacks" / "VGG16" / "paper" / attack).glob("[0-9]*.csv")
        cell = pd.read_csv(max((path for path in cells if path.name.count(".") < 3), key=lambda path: float(path.stem)))
        checks.append((f"VGG16 under {attack}", (cell["VGG16"] == cell["label"]).mean(), "<", share * right))
    broken = [found < bound if relation == ">=" else found >= bound for _, found, relation, bound in checks]
    for (what, found, relation, bound), bad in zip(checks, broken):
        print(f"{'BROKEN' if bad else 'holds':<7} {what}: {100 * found:.1f} % {relation} {100 * bound:.1f} %")
    return int(any(broken) or len(models) < 3)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
