"""Every promise names tests that there are."""

import ast
import re


def test_every_promise_names_tests_that_there_are(root):
    text = (root / "docs/promises.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| promise", "| ---"))]
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", text)
    assert len(rows) > 15 and all("::" in row or "the same five tests" in row for row in rows)
    for file, test in named:
        tree = ast.parse((root / "tests" / file).read_text(encoding="utf-8"))
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{file}::{test}"
