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
    tables = demo / "results" / "tables"
    clean = pd.read_csv(tables / "clean.csv").set_index("target")["accuracy_percent"]["VGG16"] / 100
    cells = pd.concat([pd.read_csv(tables / name) for name in ("table2.csv", "table3.csv")])
    strongest = cells[cells["white_box"]].sort_values("strength").groupby("attack").last()["accuracy_percent"] / 100
    checks += [(f"VGG16 under {attack}", strongest[attack], "<", share * clean) for attack, share in MOST_KEPT.items()]
    broken = [found < bound if relation == ">=" else found >= bound for _, found, relation, bound in checks]
    for (what, found, relation, bound), bad in zip(checks, broken):
        print(f"{'BROKEN' if bad else 'holds':<7} {what}: {100 * found:.1f} % {relation} {100 * bound:.1f} %")
    return int(any(broken) or len(models) < 3)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
