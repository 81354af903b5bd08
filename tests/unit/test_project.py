"""The project as a whole: its layout, its entry points, its locks, and what an import costs."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from tests.support.home import Home

ROOT = Path(__file__).parents[2]
PACKAGES = ("sigma_dagster", "assets", "resources")
TOP_LEVEL = {
    *(
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        "NOTICE",
        "README.md",
        "pyproject.toml",
        "workspace.yaml",
    ),
    *("assets", "benchmarks", "deploy", "docs", "examples", "resources", "sigma_dagster", "tests"),
}


@pytest.fixture(scope="module")
def pyproject() -> dict[str, dict[str, object]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_those_of_this_repository(package: str) -> None:
    """`assets` and `resources` are names that others use too: what is imported must be ours."""
    (found,) = import_module(package).__path__
    assert Path(found) == ROOT / package


def test_package_init_files_are_empty() -> None:
    """Importing a module imports no other: `sigma --help` would pay for it."""
    inits = [path for package in PACKAGES for path in (ROOT / package).rglob("__init__.py")]
    assert len(inits) >= len(PACKAGES)
    assert [path for path in inits if path.read_text(encoding="utf-8").strip()] == []


def test_the_top_level_has_what_the_user_named_and_little_else() -> None:
    """The layout is given; a stray file at the top is a mistake."""
    # Hidden files and the metadata of an editable install are the business of tools.
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".") and path.suffix != ".egg-info"}
    found -= {path.name for path in ROOT.glob("requirements*.txt")}
    assert found - {"__pycache__"} <= TOP_LEVEL
    required = {"pyproject.toml", "workspace.yaml", "sigma_dagster", "assets", "resources", "tests", "README.md"}
    assert required <= found


def test_workspace_and_pyproject_name_the_same_definitions(pyproject: dict[str, dict[str, object]]) -> None:
    """`dagster dev` reads one or the other, depending on how it is started: both name one module and location."""
    (entry,) = yaml.safe_load((ROOT / "workspace.yaml").read_text(encoding="utf-8"))["load_from"]
    of_workspace = entry["python_module"]
    of_pyproject = pyproject["tool"]["dagster"]
    assert isinstance(of_pyproject, dict)
    assert of_workspace["module_name"] == of_pyproject["module_name"] == "sigma_dagster.definitions"
    assert of_workspace["location_name"] == of_pyproject["code_location_name"] == "sigma_dagster"


def test_the_project_is_not_for_a_package_index(pyproject: dict[str, dict[str, object]]) -> None:
    """An application with generic package names must never be uploaded."""
    assert "Private :: Do Not Upload" in pyproject["project"]["classifiers"]  # type: ignore[operator]


def test_dagster_accepts_the_workspace(home: Home) -> None:
    """`dagster definitions validate` loads the definitions as the UI does, and has nothing to complain about."""
    _, environment = home.command()
    environment |= {"DAGSTER_HOME": str(home.path / "dagster"), "PYTHONWARNINGS": "ignore:Function `"}
    command = [str(Path(sys.executable).with_name("dagster")), "definitions", "validate", "-w", "workspace.yaml"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert "Validation successful for code location sigma_dagster" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


# --- locks


def locked(name: str) -> dict[str, str]:
    """Package and version of every requirement in a lock file."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split(";")[0].strip(" \\").split("==") for line in lines if "==" in line and line[0] not in " #")


def test_what_runs_is_what_was_tested() -> None:
    """Every version in requirements.txt stands in requirements-dev.txt as well."""
    run, dev = locked("requirements.txt"), locked("requirements-dev.txt")
    assert len(run) > 30
    assert run.items() <= dev.items()
    assert {"dagster", "dagster-webserver", "dagster-postgres", "alpha-vantage", "statsmodels"} <= run.keys()
    assert "pytest" not in run


def test_the_packages_of_yahoo_and_of_workers_are_those_of_the_others_and_a_few_more() -> None:
    """`make install-yahoo` moves no version of what runs, and what it adds is what the tests use; so for workers."""
    run, yahoo, workers, dev = (locked(f"requirements{kind}.txt") for kind in ("", "-yahoo", "-workers", "-dev"))
    assert run.items() <= yahoo.items() <= workers.items() <= dev.items()
    assert "yfinance" in yahoo
    assert "yfinance" not in run
    assert {"dagster-celery", "redis"} <= workers.keys()
    assert "celery" not in yahoo


@pytest.mark.parametrize(
    "name",
    [f"requirements{kind}.txt" for kind in ("", "-yahoo", "-workers", "-dev", "-uv")],
)
def test_locks_have_hashes_and_no_address(name: str) -> None:
    """A lock works with whatever index the machine has, and installs nothing that was not hashed."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "://" not in text
    assert "index-url" not in text
    blocks = text.replace("\\\n", " ").splitlines()
    packages = [line for line in blocks if "==" in line and not line.startswith("#")]
    assert packages
    assert all("--hash=sha256:" in line for line in packages)


# --- what an import costs


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("sigma_dagster.cli.main", ["dagster", "pandas", "scipy", "statsmodels", "alembic"]),
        ("sigma_dagster.planning.planner", ["dagster", "pandas"]),
        ("sigma_dagster.portfolio.holdings", ["dagster", "pandas", "sqlalchemy.orm"]),
        ("assets.numerics.regression", ["dagster", "sqlalchemy", "pandas"]),
    ],
)
def test_modules_import_only_what_they_need(module: str, absent: list[str]) -> None:
    """Start-up is part of the product: the command line answers before Dagster or pandas could be imported."""
    code = f"import sys, {module}; print([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "[]"


# --- what tests and benchmarks promise


def test_every_test_says_which_promise_it_guards() -> None:
    """A test without a docstring tells nobody what is lost when it is deleted."""
    silent = [
        f"{path.name}: {node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert silent == []


def test_benchmarks_stand_without_the_tests() -> None:
    """A measurement can be repeated without the suite: nothing of it is imported."""
    imports = re.compile(r"^\s*(from|import) tests\b", flags=re.MULTILINE)
    found = [path.name for path in (ROOT / "benchmarks").rglob("*.py") if imports.search(path.read_text())]
    assert found == []


def test_the_hooks_before_a_commit_are_those_of_make_lint() -> None:
    """What passes before a commit passes in CI: the same tools with the same options, and no address of others."""
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert lint
    made = {
        line.split()[0]: set(line.split()[1:]) for line in re.findall(r"@\$\(BIN\)/(.*)", lint[1].replace(" .", ""))
    }
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    entries = [hook["entry"].split() for repo in repos for hook in repo["hooks"]]
    assert {entry[0] for entry in entries} == {f".venv/bin/{tool}" for tool in made}
    assert len(entries) == len(re.findall("@", lint[1]))
