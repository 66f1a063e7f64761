"""The findings, in the order of the report: a new one is a module with `describe(run) -> Finding`, and its name here."""

from nosign.findings import (
    accuracy,
    ball,
    boundary,
    classifiers,
    comparison_with_paper,
    confusion,
    directions,
    effort,
    examples,
    grey,
    over_runs,
    steps,
    storage,
    transfer,
    turning,
    workflow,
)

FINDINGS = (
    turning,
    accuracy,
    directions,
    ball,
    over_runs,
    boundary,
    storage,
    transfer,
    grey,
    effort,
    steps,
    confusion,
    comparison_with_paper,
    classifiers,
    examples,
    workflow,
)
