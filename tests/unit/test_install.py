"""deploy/install.sh: which Python it takes, and that `.venv` ends up whole whatever happened before.

Python, pip and uv are played by a stand-in that writes down how it was called. Real installs are too slow for a test.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = "deploy/install.sh"
LOCKS = tuple(f"requirements{kind}.txt" for kind in ("", "-yahoo", "-workers", "-dev", "-uv"))
PROJECT_FILES = (SCRIPT, "pyproject.toml", *LOCKS)

STAND_IN = """\
#!/bin/sh
case "$*" in
*"-m venv"*) mkdir -p .venv/bin .venv/site; cp "$0" .venv/bin/python; cp "$0" .venv/bin/uv ;;
*sysconfig*) echo .venv/site; exit ;;
--version) echo Python 3.13.0; exit ;;
"-c "*) exit ;;
esac
echo "$(basename "$0") $*" >>calls
if [ "$(basename "$0")" = uv ] && [ -e kill-uv ]; then kill -9 $PPID; fi
if [ "$(basename "$0")" = uv ] && [ -e break-uv ]; then echo no route >&2; exit 2; fi
"""


class Project:
    """A copy of what the script reads, in a folder whose name has a space, and a PATH with no Python but ours."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a project"
        self.tools = folder / "tools"
        self.tools.mkdir(parents=True)
        for name in PROJECT_FILES:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)
        for name in ("sh", "cat", "cksum", "grep", "rm", "mkdir", "cp", "touch", "basename"):
            (self.tools / name).symlink_to(shutil.which(name) or name)

    def provide(self, name: str, script: str = STAND_IN) -> Path:
        """Put a program on the PATH."""
        path = self.tools / name
        path.write_text(script)
        path.chmod(0o755)
        return path

    def install(self, kind: str = "run", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        environment = {"PATH": str(self.tools), "HOME": str(self.root), **variables}
        command = [str(self.tools / "sh"), SCRIPT, kind]
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own script

    def calls(self) -> list[str]:
        """What was called since the last question."""
        log = self.root / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def packages(self) -> list[str]:
        """Who installed which file since the last question, and `venv` where one was made."""
        made = []
        for call in self.calls():
            program, *arguments = call.split()
            made.append("venv" if "venv" in arguments else f"{program} {arguments[-1]}")
        return made


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def installed(project: Project) -> Project:
    project.provide("python3.12")
    assert project.install().returncode == 0
    assert project.packages() == NEW
    return project


NEW = ["venv", "python requirements-uv.txt", "uv requirements.txt", "python ."]


# --- which Python


def test_without_a_usable_python_one_line_says_what_to_install(project: Project) -> None:
    """A shim that fails and a Python without ensurepip are passed over, and nothing is made."""
    project.provide("python3.12", "#!/bin/sh\necho pyenv: python3.12: command not found >&2; exit 127\n")
    project.provide("python3", '#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; esac\n')
    done = project.install()
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "apt install python3-venv" in done.stderr
    assert not (project.root / ".venv").exists()


def test_the_python_that_is_named_is_taken_or_refused(project: Project) -> None:
    """PYTHON goes before all others, and is not silently replaced by one that works."""
    project.provide("python3.13")
    refused = project.install(PYTHON="/nowhere/python")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "PYTHON=/nowhere/python is not Python 3.11, 3.12 or 3.13 with venv" in refused.stderr
    named = project.provide("my python")
    assert project.install(PYTHON=str(named)).returncode == 0
    assert project.calls()[0] == "my python -m venv .venv"


def test_the_versions_it_takes_are_those_of_pyproject() -> None:
    """The script and pyproject.toml speak of the same versions."""
    script = (ROOT / SCRIPT).read_text()
    assert "(3, 11) <= sys.version_info[:2] < (3, 14)" in script
    assert 'requires-python = ">=3.11,<3.14"' in (ROOT / "pyproject.toml").read_text()


# --- what is installed, and when


def test_everything_is_installed_by_hash(project: Project) -> None:
    """Nothing comes without a hash or without a wheel, and only the one line of progress is printed."""
    project.provide("python3.11")
    done = project.install("dev")
    installs = [call for call in project.calls() if " install " in call]
    assert len(installs) == 3
    assert all("--require-hashes --no-deps --only-binary :all:" in call for call in installs[:2])
    assert installs[2].endswith("--no-deps --no-build-isolation -e .")
    assert done.stderr.startswith("Installing ")
    assert done.stderr.count("\n") == 1


def test_what_is_in_place_is_left_alone(installed: Project) -> None:
    """A second time nothing is called and nothing printed."""
    again = installed.install()
    assert (again.returncode, again.stderr, installed.calls()) == (0, "", [])


def test_the_packages_for_tests_join_the_same_venv(installed: Project) -> None:
    """`make test` after `make demo` adds packages; `make demo` after that does nothing."""
    assert installed.install("dev").returncode == 0
    assert installed.packages() == ["python requirements-uv.txt", "uv requirements-dev.txt", "python ."]
    assert installed.install("run").stderr == ""


def test_the_packages_of_yahoo_join_the_same_venv(installed: Project) -> None:
    """`make install-yahoo` after `make demo` adds packages; `make demo` after that keeps them."""
    assert installed.install("yahoo").returncode == 0
    assert installed.packages() == ["python requirements-uv.txt", "uv requirements-yahoo.txt", "python ."]
    assert (installed.install("run").stderr, installed.install("yahoo").stderr) == ("", "")
    assert installed.packages() == []


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-yahoo.txt", "requirements-workers.txt", "requirements-dev.txt"]
)
def test_a_changed_lock_makes_a_new_venv(installed: Project, name: str) -> None:
    """What is no longer locked does not stay behind."""
    stray = installed.root / ".venv" / "stray"
    stray.touch()
    with (installed.root / name).open("a") as file:
        file.write("# changed\n")
    installed.install()
    assert installed.packages() == NEW
    assert not stray.exists()


def test_a_changed_pyproject_installs_into_the_venv_that_is_there(installed: Project) -> None:
    """The project's scripts are made again, its packages stay."""
    with (installed.root / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    installed.install()
    assert installed.packages() == NEW[1:]


def test_a_project_that_was_moved_is_installed_anew(installed: Project) -> None:
    """The scripts of a venv name its folder."""
    installed.root = installed.root.rename(installed.root.with_name("moved"))
    installed.install()
    assert installed.packages() == NEW


def test_a_venv_whose_python_is_gone_is_made_anew(installed: Project) -> None:
    """As after an upgrade of the system's Python."""
    (installed.root / ".venv/bin/python").write_text("#!/nowhere/python\n")
    installed.install()
    assert installed.packages() == NEW


def test_an_install_that_was_killed_starts_over(installed: Project) -> None:
    """A package may look installed and lack files, so the venv is not trusted."""
    (installed.root / "kill-uv").touch()
    assert installed.install("dev").returncode != 0
    (installed.root / "kill-uv").unlink()
    installed.calls()
    assert installed.install("dev").returncode == 0
    assert installed.packages() == [*NEW[:2], "uv requirements-dev.txt", "python ."]


def test_what_uv_cannot_reach_pip_fetches(project: Project) -> None:
    """With the same file and the same hashes; what uv said stands in the log that the message names."""
    project.provide("python3.13")
    (project.root / "break-uv").touch()
    done = project.install()
    assert done.returncode == 0
    assert project.packages() == [*NEW[:3], "python requirements.txt", "python ."]
    assert "see .venv/install.log" in done.stderr
    assert (project.root / ".venv/install.log").read_text() == "no route\n"


# --- the Makefile


def test_the_makefile_suits_the_make_of_macos() -> None:
    """GNU make 3.81 knows no grouped targets, no .ONESHELL, no != and no ::= assignment, no $(file)."""
    text = (ROOT / "Makefile").read_text()
    for newer in ("&:", ".ONESHELL", "!=", "::=", "$(file", "private "):
        assert newer not in text


def test_make_names_the_python_as_it_is_given(project: Project) -> None:
    """`make PYTHON=...` reaches the script, blanks and all."""
    shutil.copy(ROOT / "Makefile", project.root)
    named = project.provide("my python")
    make = shutil.which("make")
    assert make
    environment = {**os.environ, "PATH": str(project.tools)}
    command = [make, "install", f"PYTHON={named}"]
    subprocess.run(command, cwd=project.root, env=environment, capture_output=True, check=True)  # noqa: S603 - our own Makefile
    assert project.calls()[0] == "my python -m venv .venv"


def test_ctrl_c_ends_in_one_line(tmp_path: Path) -> None:
    """D9: the interrupt reaches the programs started too; what Python says of it, a traceback, is not shown."""
    project = Project(tmp_path)
    for name in ("sleep", "kill"):
        (project.tools / name).symlink_to(shutil.which(name) or name)
    project.provide(
        "python3.13",
        """#!/bin/sh
case "$*" in
*"-m venv"*) trap 'echo Traceback: KeyboardInterrupt >&2; exit 1' INT; touch started; while :; do sleep 0.1; done ;;
*) exec sh "$0.usual" "$@" ;;
esac
""",
    )
    project.provide("python3.13.usual")
    command = [str(project.tools / "sh"), SCRIPT, "run"]
    running = subprocess.Popen(  # noqa: S603 - our own script
        command,
        cwd=project.root,
        env={"PATH": str(project.tools), "HOME": str(project.root)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (project.root / "started").exists():
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130
    assert said.splitlines()[1:] == ["Interrupted: run make again, it goes on from here."]
