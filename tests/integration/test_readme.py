"""What README.md and docs/json.md say is what the program does: output, commands, settings, names, tests, links."""

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from docs import screenshots
from resources.database.tables import FACTORS
from resources.sources.registry import live_sources
from sigma_dagster.analysis import scenarios
from sigma_dagster.portfolio.holdings import HOLDINGS_HELP
from sigma_dagster.settings import SECRETS, Settings, secret_file
from tests.support.home import ROOT, Home

README = (ROOT / "README.md").read_text(encoding="utf-8")
JSON_NAMES = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
EXAMPLE = "my.csv"


def _blocks(language: str) -> list[str]:
    """The fenced blocks of a language, without their indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", README, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def _section(title: str, text: str = README) -> str:
    return re.split(r"^## ", text.split(f"\n## {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def _table(section: str) -> Iterator[list[str]]:
    """The cells of each row of the tables of a section, headers left out."""
    lines = section.splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("|") and before.startswith("|") and "---" not in line:
            yield [cell.strip() for cell in line.strip("|").split("|")]


def _console(command: str) -> str:
    """The output that the README shows below a command."""
    (block,) = (text for text in _blocks("console") if text.startswith(f"$ {command}\n"))
    return block.split("\n", 1)[1]


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with the README's own holdings file in it."""
    (example,) = _blocks("csv")
    (tmp_path / EXAMPLE).write_text(example)
    return tmp_path


# --- the two commands


def test_make_demo_prints_what_the_readme_shows(tmp_path: Path) -> None:
    """Every line and every number, all but the seconds and the version of Python."""
    done = Home(tmp_path / "sigma", {}).sigma("demo")
    installing, shown = _console("make demo").split("\n", 1)
    assert done.returncode == 0, done.stderr
    assert _without_seconds(done.stderr + done.stdout) == _without_seconds(shown)
    packages = sum("==" in line for line in (ROOT / "requirements.txt").read_text().splitlines())
    assert installing.startswith(f"Installing {packages} packages into .venv (Python 3.1")
    assert len(done.stdout.splitlines()) <= 25


def test_a_dry_run_prints_what_the_readme_shows(full_home: Home) -> None:
    """The example of a broker's file, every line."""
    command = "sigma onboard tests/fixtures/brokers/schwab.csv --dry-run"
    done = full_home.sigma("onboard", ROOT / command.split()[2], "--dry-run")
    assert done.returncode == 0, done.stderr
    assert (done.stderr + done.stdout).split() == _console(command).split()


def test_explain_prints_what_the_readme_shows(read_home: Home) -> None:
    """The example of what changed, every line and number."""
    done = read_home.sigma_here("explain", "growth")
    assert done.stdout.split() == _console("sigma explain growth").split()


def test_the_built_in_scenarios_are_those_of_the_docs() -> None:
    """docs/stress.md lists each, and its example is a file that can be read."""
    text = (ROOT / "docs" / "stress.md").read_text(encoding="utf-8")
    listed = [row[0].strip("`") for row in _table(text.split("## Your own")[0])]
    built_in = scenarios.scenarios()
    assert listed == [one.name for one in built_in]
    for one in built_in:
        days = f"{one.from_} to {one.to}" if one.is_window else ""
        assert re.search(rf"`{one.name}` \| .*{days}", text)


def test_the_example_of_scenarios_can_be_read(tmp_path: Path) -> None:
    """The TOML of docs/stress.md, as it stands there."""
    text = (ROOT / "docs" / "stress.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "my.toml").write_text(example)
    names = [one.name for one in scenarios.scenarios(str(tmp_path / "my.toml"))]
    assert names[-3:] == ["value_rally", "value_alone", "taper_2013"]


def _without_seconds(text: str) -> list[str]:
    lines = [re.sub(r"\d+\.\d", "S", line) if line.startswith("seconds") else line for line in text.splitlines()]
    return [re.sub(r" +", " ", line.strip()) for line in lines if line.strip()]


def test_make_test_ends_as_the_readme_shows() -> None:
    """Pytest's last line; its numbers are those of the day it was written."""
    assert re.fullmatch(r"\d+ passed(, \d+ skipped)? in [\d.]+s( \([\d:]+\))?", _console("make test").splitlines()[-1])


# --- commands and files


def _commands() -> list[str]:
    """Those below the example file, and those of the table."""
    section = _section("Your own holdings")
    shown = re.findall(r"^\$ (sigma .*)$", section, re.MULTILINE)
    listed = [row[0].strip("`") for row in _table(section) if row[0].startswith("`sigma ")]
    assert len(shown) >= 3
    assert len(listed) >= 7
    return [*shown, *listed]


def test_every_sigma_command_of_the_readme_runs(full_home: Home, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the README, after the demo, beside its example file."""
    monkeypatch.chdir(desk)
    words = {"FILE": EXAMPLE, "[FILE]": EXAMPLE, "NAME": "mine", "SYMBOL": "AAPL", "SYMBOL...": "AAPL"}
    words |= {"OLD": "KO", "NEW": "KO.X", "TO": "other"}
    for command in _commands():
        named = [words.get(word, word) for word in shlex.split(command)[1:]]
        done = full_home.sigma_here(*(desk / word if word == EXAMPLE else word for word in named))
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout, command


def test_every_command_and_option_that_is_named_exists(home: Home) -> None:
    """`sigma NAME --option` anywhere in the README or in docs/."""
    texts = [README, *(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")))]
    named = {found for text in texts for found in re.findall(r"`sigma ([a-z]+)([^`]*)`", text)}
    helps: dict[str, str] = {}
    for command, rest in sorted(named):
        if command not in helps:
            helps[command] = home.sigma_here(command, "--help").stdout
        for option in re.findall(r"--[a-z-]+", rest):
            assert f"{option} " in helps[command], (command, option)
    assert all(helps.values())


def test_the_example_is_the_one_of_the_help() -> None:
    """One example in both places."""
    (example,) = _blocks("csv")
    assert [line.strip() for line in HOLDINGS_HELP.splitlines() if line.count(",") == 5] == example.splitlines()


def test_every_make_target_that_is_named_exists() -> None:
    """And every target of a user's is named."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|\$ )make ([a-z-]+)", README))
    assert named <= targets
    assert targets - named <= {"install", "install-dev"}


def test_every_link_leads_to_a_file() -> None:
    """Links within the repository."""
    for file in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", file.read_text(encoding="utf-8")):
            assert (file.parent / target).exists(), (file.name, target)


def test_every_picture_is_taken_by_the_script_and_described() -> None:
    """docs/screenshots.py takes exactly the pictures that the README shows; each is a PNG of at most 200 KB."""
    shown = re.findall(r"!\[([^\]]*)\]\(docs/images/([^)]+)\)", README)
    assert {name for _, name in shown} == screenshots.PICTURES.keys()
    assert {path.name for path in screenshots.IMAGES.iterdir()} == screenshots.PICTURES.keys()
    assert all(len(description) > 40 for description, _ in shown)
    for path in screenshots.IMAGES.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG"), path.name
        assert path.stat().st_size < 200_000, path.name
    assert screenshots.FORCE in [text.rstrip() for text in _blocks("yaml")]


def test_every_test_that_is_named_exists() -> None:
    """The table of the Phase 11.1 document promises tests by name."""
    files = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    for row in _table(_section("The Phase 11.1 document, row by row")):
        for name in re.findall(r"`(test_\w+(?:\.py)?)`", row[-1]):
            assert name in files or any(f"def {name}(" in text for text in files.values()), name
        assert "test_" in row[-1]


# --- settings


class _Asked(dict[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return default


def _settings() -> dict[str, str]:
    return {row[0].strip("`"): row[1] for row in _table(_section("Settings"))}


def test_the_settings_are_those_that_are_read() -> None:
    """settings.py reads exactly these, and nothing else of ours is spoken of anywhere in the code."""
    asked = _Asked()
    Settings.from_environment(asked)
    assert _settings().keys() == asked.names
    sources = [path for name in ("sigma_dagster", "assets", "resources") for path in (ROOT / name).rglob("*.py")]
    spoken = {name for path in sources for name in re.findall(r"\bSIGMA_[A-Z_]+", path.read_text(encoding="utf-8"))}
    spoken |= {secret_file(name) for name in SECRETS}  # the only names that are made
    assert spoken == {name for name in asked.names if name.startswith("SIGMA_")}


def test_the_defaults_are_those_that_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """To set a variable to its default changes nothing."""
    monkeypatch.chdir(ROOT)
    literal = {name: default.strip("`") for name, default in _settings().items() if re.fullmatch(r"`[^`]+`", default)}
    assert len(literal) >= 5
    standard = Settings.from_environment({})
    for name, default in literal.items():
        value = default.replace("$SIGMA_HOME", str(standard.home))
        assert Settings.from_environment({name: value}) == standard, name
        assert Settings.from_environment({name: " "}) == standard, name


def test_the_environment_of_the_tests_is_the_default_one() -> None:
    """What this file claims of defaults would otherwise be claimed of a developer's settings."""
    assert not [name for name in os.environ if name.startswith("SIGMA_")]


# --- JSON


def _documented(command: str) -> set[str]:
    return {row[0].strip("`") for row in _table(_section(command, JSON_NAMES))}


#: Where the names are data, and what stands for them in the docs.
DATA = {
    "exposures": "FACTOR",
    "risk.exposures": "FACTOR",
    "standard_errors": "FACTOR",
    "risk_split.factors": "FACTOR",
    "risk_split.positions": "SYMBOL",
    "risk_split_equal_weighted.factors": "FACTOR",
    "risk_split_equal_weighted.positions": "SYMBOL",
    "exceedances": "VAR",
    "portfolios": "NAME",
    "scenarios[].moves": "FACTOR",
    "scenarios[].factors": "FACTOR",
    "missing.rows": "ASSET",
    "failures": "SOURCE",
}


def _names(data: Any, path: str = "") -> set[str]:
    """Dotted names of all values."""
    if isinstance(data, dict) and data:
        keys = {name: name for name in data} | (dict.fromkeys(data, DATA[path]) if _is_data(path, data) else {})
        return set().union(*(_names(value, f"{path}.{keys[name]}".lstrip(".")) for name, value in data.items()))
    if isinstance(data, list) and data:
        return set().union(*(_names(value, f"{path}[]") for value in data))
    return {path}


def _is_data(path: str, data: Mapping[str, Any]) -> bool:
    """`exposures` of a plan are counts, all others are by factor."""
    return path in DATA and (DATA[path] != "FACTOR" or data.keys() <= set(FACTORS))


@pytest.mark.parametrize(
    "command",
    [
        "sigma onboard FILE --json",
        "sigma onboard FILE --dry-run --json",
        "sigma plan --json",
        "sigma portfolios --json",
        "sigma symbols --json",
        "sigma show NAME --json",
        "sigma refresh --json",
        "sigma diagnose SYMBOL --json",
        "sigma explain NAME --json",
        "sigma stress NAME --json",
        "sigma history NAME --json",
    ],
)
def test_the_names_in_json_are_those_of_the_docs(full_home: Home, tmp_path: Path, command: str) -> None:
    """docs/json.md names every value, and no other."""
    file = tmp_path / "other.csv"
    file.write_text("symbol,quantity,entry_price,entry_date\nAAPL,1,100,2021-01-04\nBAC,1,30,2021-01-04\n")
    words: dict[str, list[str]] = {"--dry-run": ["--dry-run"]}
    if "--dry-run" in command:
        file.write_text("Ticker,Shares,Memo\nAAPL,1,x\nPending activity,,\n")
    words |= {"plan": ["plan", str(file)], "FILE": [str(file)], "NAME": ["growth"], "SYMBOL": ["AAPL"]}
    done = full_home.sigma_here(*(argument for word in command.split()[1:] for argument in words.get(word, [word])))
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    found = _names(data)
    empty = {
        name for name in found if any(other.startswith(f"{name}[]") for other in found)
    }  # a list, filled elsewhere
    assert found - empty == _documented(command)


def test_the_names_of_what_if_are_those_of_the_docs(full_home: Home) -> None:
    """`before` and `after` as `sigma show`, and the hedge; `plan` as `sigma plan`."""

    def ask(*trade: str) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(full_home.sigma_here("whatif", "growth", "--trade", *trade, "--json").stdout)
        return data

    answer, costs = ask("KO=+5", "--hedge", "market"), ask("BAC=+5")
    show = _documented("sigma show NAME --json")
    assert _names(answer["before"]) == _names(answer["after"]) == show
    assert _names(costs["plan"]) - {"portfolios"} <= _documented("sigma plan --json")  # it computes of none
    hedge = {name for name in _names(answer) if name.startswith("hedge")}
    assert {"before", "after", "plan", *hedge} == _documented("sigma whatif NAME --json")
    assert (answer.keys(), costs.keys()) == ({"before", "after", "hedge"}, {"before", "after", "plan"})


def test_the_names_of_a_fetch_are_those_of_the_docs(core_home: Home) -> None:
    """Its own, and those of `sigma refresh`."""
    data = json.loads(core_home.sigma_here("fetch", "AAPL", "--json").stdout)
    assert _names(data) == _documented("sigma fetch SYMBOL --json") | _documented("sigma refresh --json")


def test_the_names_of_the_state_are_those_of_the_docs(core_home: Home) -> None:
    """With a symbol that waits, so that there is a longest wait."""
    with core_home.sql() as connection:
        values = ("AAPL", "failed", "down", "2022-12-28", "2022-12-29 00:00:00")
        connection.execute("INSERT INTO pending_fetch VALUES (?, ?, ?, ?, ?)", values)
    assert _names(json.loads(core_home.sigma_here("status", "--json").stdout)) == _documented("sigma status --json")


def test_every_command_with_json_has_its_names_in_the_docs(home: Home) -> None:
    """A command that takes --json has a section."""
    listed = re.findall(r"^│ ([a-z]+) ", home.sigma_here("--help").stdout, re.MULTILINE)
    assert len(listed) > 10
    takes = {name for name in listed if "--json" in home.sigma_here(name, "--help").stdout}
    assert takes == set(re.findall(r"^## sigma (\w+).* --json$", JSON_NAMES, re.MULTILINE))


def test_the_lines_to_type_are_those_that_messages_offer() -> None:
    """One line for each source of live prices, the same in the README and on the terminal."""
    section = _section("Your own prices")
    for line in live_sources().values():
        assert f"`{line}`" in section


def test_the_errors_in_json_are_those_of_the_docs(home: Home, tmp_path: Path) -> None:
    """As a newcomer meets them: a symbol that the sample does not have."""
    file = tmp_path / "bad.csv"
    file.write_text("symbol,quantity,entry_price,entry_date\nAAPL,1,100,2021-01-04\n\nNVDA,1,10,2021-01-04\n")
    done = home.sigma_here("onboard", file, "--json")
    assert done.returncode == 2
    assert _names(json.loads(done.stdout)) == _documented("Errors")
    shown = re.findall(r"`(row [^`]+)`", _section("Your own holdings"))
    assert shown
    for message in shown:
        assert message in done.stderr
