"""`examples/notebook.ipynb`: its cells run one after the other on the home of the demo."""

import json
import subprocess
import sys

from tests.support.home import EXAMPLES, Home

NOTEBOOK = json.loads((EXAMPLES / "notebook.ipynb").read_text(encoding="utf-8"))
CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]

#: As a kernel does: the last expression of a cell is shown. Pictures are drawn to the end, and counted.
_RUN = """
import ast, json, sys
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
names = {"__name__": "__main__"}
for cell in json.load(sys.stdin):
    tree = ast.parse(cell)
    shown = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if shown is not None:
        print(repr(eval(compile(ast.Expression(shown.value), "cell", "eval"), names)))
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
        print("picture")
    plt.close("all")
"""


def test_its_cells_run_from_the_first_to_the_last(read_home: Home) -> None:
    """Promise: after the demo the notebook runs as it is, without a warning, and draws its pictures."""
    _, environment = read_home.command()
    done = subprocess.run(  # noqa: S603 - our own notebook
        [sys.executable, "-W", "error", "-c", _RUN],
        input=json.dumps(CELLS),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("picture") == 7
    assert "sessions lost more" in done.stdout
    assert "low_volatility" in done.stdout


def test_it_is_a_notebook_without_outputs() -> None:
    """Promise: nothing in it is of somebody's home or of another day; it is in the form that Jupyter reads."""
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in NOTEBOOK["cells"]}) == len(NOTEBOOK["cells"])
    for cell in NOTEBOOK["cells"]:
        assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == ([], None)
