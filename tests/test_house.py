"""The house: which room may know which, from the imports themselves; and which rooms stay free of Keras."""

import ast
import re
import subprocess
import sys

# Each room and the rooms of nosign that it may import; paper, errors and the catalogues may be known by all.
BASE = {"paper", "errors", "attacks.catalogue", "classifiers.catalogue", "dataset"}
MAY_KNOW = {
    "paper": set(),
    "errors": set(),
    "files": {"faults"},
    "faults": set(),
    "processes": set(),
    "image_files": {"files"},
    "dataset": {"image_files", "files", "manifest"},
    "script": {"files"},
    "manifest": {"files"},
    "backend": set(),
    "memory": set(),
    "classifiers": {"classifiers", "backend", "memory", "files", "manifest"},
    "attacks": {"attacks", "backend", "classifiers"},
    "measures": {"measures"},
    "rows": {"attacks.turning", "measures", "files", "manifest"},
    "sweep": {"sweep", "attacks", "classifiers", "backend", "memory", "measures", "rows", "files", "manifest"},
    "statistics": {"statistics", "files"},
    "output": {"output", "measures", "rows", "files", "manifest", "processes"},
    "finished": {"manifest", "rows", "measures", "statistics", "output", "script", "attacks.turning"},
    "findings": {"finished", "rows", "measures", "statistics", "output", "attacks.turning"},
    "plan": {"sweep", "attacks", "classifiers", "backend", "files", "measures", "script"},
    "publish": {"findings", "finished", "rows", "output", "files", "manifest"},
}


def imports(root):
    """Yield (module, imported module) within nosign, without the prefix; imports inside functions count too."""
    for path in sorted((root / "nosign").rglob("*.py")):
        module = ".".join(path.relative_to(root / "nosign").with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [name.name for name in node.names if name.name.split(".")[0] == "nosign"]
                yield from ((module, name.removeprefix("nosign.")) for name in names)
            assert not getattr(node, "level", 0), f"{path}: a relative import"
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "nosign":
                found = [node.module] if node.module.count(".") else [f"nosign.{name.name}" for name in node.names]
                if (root / node.module.replace(".", "/")).is_dir() and node.module.count("."):
                    found = [f"{node.module}.{name.name}" for name in node.names]
                yield from ((module, other.removeprefix("nosign.")) for other in found)


def knows(room, other):
    """Tell whether a room may import a module."""
    return any(other == allowed or other.startswith(f"{allowed}.") for allowed in MAY_KNOW[room] | BASE)


def test_no_room_knows_one_that_it_should_not(root):
    found = [(module, other) for module, other in imports(root) if not module.endswith("__init__")]
    assert len(found) > 150
    assert [(module, other) for module, other in found if not knows(module.split(".")[0], other)] == []


def test_a_finding_imports_no_other_finding(root):
    between = [
        (module, other) for module, other in imports(root) if module.startswith("findings.") and other.startswith("findings")
    ]
    between = [(module, other) for module, other in between if not module.endswith("__init__")]
    assert between == []


def test_files_do_not_import_each_other_in_a_circle(root):
    graph = {}
    for module, other in imports(root):
        graph.setdefault(module.removesuffix(".__init__"), set()).add(other)

    def reach(module, seen=()):
        assert module not in seen, " -> ".join([*seen, module])
        for other in graph.get(module, ()):
            reach(other, (*seen, module))

    lazy = {("__init__", "attacks.api")}
    for module, other in lazy:  # when first asked for
        graph.get(module, set()).discard(other)
    for module in list(graph):
        reach(module)


# Methods and functions that change the disk, and what may use them: what shows films or plots works in memory.
WRITERS = {
    *("mkdir", "makedirs", "write_text", "write_bytes", "touch", "unlink", "rmdir", "removedirs", "rmtree", "symlink"),
    *(
        "symlink_to",
        "hardlink_to",
        "link",
        "truncate",
        "copyfile",
        "copy2",
        "copytree",
        "rename",
        "renames",
        "to_csv",
        "tofile",
    ),
}


def writes(tree):
    """Yield the lines of a module that open a file to write, or call one of `WRITERS`."""
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        called = node.func
        if isinstance(called, ast.Name) and called.id == "open":
            modes = [*node.args[1:2], *(word.value for word in node.keywords if word.arg == "mode")]
            if any(not isinstance(mode, ast.Constant) or set(str(mode.value)) & set("wax+") for mode in modes):
                yield node.lineno
        if isinstance(called, ast.Attribute) and called.attr in WRITERS:
            frames = called.attr == "rename" and {word.arg for word in node.keywords} & {"columns", "index"}
            if not frames:
                yield node.lineno
        if isinstance(called, ast.Attribute) and called.attr in ("replace", "remove") and ast.unparse(called.value) == "os":
            yield node.lineno


def test_all_writing_goes_through_one_module(root):
    places = [root / "nosign", root / "data_processing", root / "results/reference", *root.glob("*.py")]
    modules = [path for place in places for path in ([place] if place.is_file() else sorted(place.rglob("*.py")))]
    found = {path.name: lines for path in modules if (lines := list(writes(ast.parse(path.read_text()))))}
    assert len(modules) > 100 and len(found.pop("files.py")) > 10
    assert found == {}


def test_nothing_that_runs_what_it_reads(root):
    rooms = [root / room for room in ("nosign", "data_processing", "results")]
    modules = [*root.glob("*.py"), *(path for room in rooms for path in room.rglob("*.py"))]
    forbidden = re.compile(
        r"import (pickle|dill|joblib|marshal|shelve)|allow_pickle=True|read_pickle|shell=True|os\.(system|popen)"
        r"|\b(eval|exec)\(|safe_mode=False|enable_unsafe_deserialization|extractall"
    )
    assert len(modules) > 100
    assert [(path.name, found.group()) for path in modules if (found := forbidden.search(path.read_text()))] == []


def test_what_needs_no_keras_imports_none(root):
    modules = (
        *("nosign.publish", "nosign.rows", "nosign.sweep.jobs", "nosign.attacks.catalogue", "nosign.classifiers.catalogue"),
        *(
            "data_processing.prepare",
            "data_processing.phantom.__main__",
            "data_processing.download",
            "results.reference.__main__",
        ),
    )
    loaded = "{'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)"
    lines = "".join(f"import {module}\nif {loaded}: sys.exit('{module} imports ' + str({loaded}))\n" for module in modules)
    done = subprocess.run([sys.executable, "-c", f"import sys\n{lines}"], cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
