"""docs/price-sources.md: the example of a source of one's own is installed and run as it stands there."""

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from resources.sources.registry import GROUP

ROOT = Path(__file__).parents[2]

CODE = """
import json
from datetime import date
from resources.sources.base import UnknownSymbolError
from resources.sources.registry import price_sources
source = price_sources(["desk", "sample"])
rows = source.fetch("XYZ", date(2022, 12, 1), date(2022, 12, 28))
print(json.dumps([source.name, [[str(row.session), row.close] for row in rows]]))
print(source.fetch_from("KO", date(2022, 12, 28), date(2022, 12, 28)).source)
"""


def examples() -> dict[str, str]:
    """The files that the document shows, by name."""
    blocks = re.findall(
        r"```(?:toml|python)\n# (\S+)\n(.*?)```", (ROOT / "docs/price-sources.md").read_text(), re.DOTALL
    )
    return dict(blocks)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The package of the document, installed into a folder."""
    package = tmp_path_factory.mktemp("desk-prices")
    for name, text in examples().items():
        (package / name).write_text(text, encoding="utf-8")
    target = package / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(target), str(package)], check=True, capture_output=True, cwd=package)  # noqa: S603
    with closing(sqlite3.connect(package / "desk.db")) as connection, connection:
        connection.execute("CREATE TABLE price (symbol, day, close)")
        rows = [("XYZ", "2022-11-30", 1.0), ("XYZ", "2022-12-27", 2.0), ("XYZ", "2022-12-28", 3.0)]
        connection.executemany("INSERT INTO price VALUES (?, ?, ?)", rows)
    yield package
    shutil.rmtree(target)


def run(installed: Path, database: str, code: str = CODE) -> subprocess.CompletedProcess[str]:
    path = f"{ROOT}:{installed / 'site'}"
    environment = {"PYTHONPATH": path, "DESK_PRICES": str(installed / database)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)  # noqa: S603


def test_the_example_is_found_by_its_name_and_serves(installed: Path) -> None:
    """Nothing of ours is edited: the entry point is enough, and a chain takes it like any other."""
    done = run(installed, "desk.db")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert json.loads(first) == ["desk,sample", [["2022-12-27", 2.0], ["2022-12-28", 3.0]]]
    assert second == "sample"


def test_the_example_says_what_failed(installed: Path) -> None:
    """A file that is not there is a failure of the source, not an unknown symbol."""
    done = run(installed, "nowhere.db")
    assert "SourceError" in done.stderr or "SourceUnavailableError" in done.stderr
    assert "nowhere.db: unable to open database file" in done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('os.environ["DESK_PRICES"]', "desk_prices:DeskPrices cannot be made: KeyError('NO_SUCH')"),
        ('name = "desk"', "desk_prices:DeskPrices has another `name`: the entry point's is needed"),
    ],
)
def test_what_is_wrong_with_a_source_of_somebody_elses_is_said(installed: Path, change: str, message: str) -> None:
    """One line that names the source, whatever its code raises."""
    module = installed / "site" / "desk_prices.py"
    text = module.read_text()
    replaced = {'os.environ["DESK_PRICES"]': 'os.environ["NO_SUCH"]', 'name = "desk"': 'name = "other"'}[change]
    try:
        module.write_text(text.replace(change, replaced))
        done = run(installed, "desk.db")
    finally:
        module.write_text(text)
    assert f"price source 'desk': {message}" in done.stderr


def test_the_example_has_30_lines_of_code_and_the_right_group() -> None:
    """It is what one has to write, and no more."""
    files = examples()
    assert GROUP in files["pyproject.toml"]
    code = [line for line in files["desk_prices.py"].splitlines() if line.strip() and "import" not in line]
    assert len(code) <= 30
