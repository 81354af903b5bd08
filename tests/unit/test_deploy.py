"""deploy/compose.yaml and its image: read, not run. What they name is there."""

import re
from typing import Any

import pytest
import yaml

from sigma_dagster.cli.main import COMMANDS
from sigma_dagster.settings import BROKER_URL, Settings
from tests.support.home import ROOT

DEPLOY = ROOT / "deploy"


@pytest.fixture
def compose() -> dict[str, Any]:
    """The file, with a password wherever one is asked for."""
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    filled = re.sub(r"\$\{\w+:\?\}", "secret", text)
    return dict(yaml.safe_load(re.sub(r"\$\{\w+:-(\w*)\}", r"\1", filled)))


def test_the_parts_of_an_installation_are_there(compose: dict[str, Any]) -> None:
    """Postgres, Redis, web server, daemon and two workers; ours are commands of one image."""
    services = compose["services"]
    assert services.keys() == {"postgres", "redis", "webserver", "daemon", "worker1", "worker2"}
    ours = [service for service in services.values() if service["image"] == "sigma-dagster"]
    assert [service["command"][0] for service in ours] == ["webserver", "daemon", "worker", "worker"]
    assert {service["command"][0] for service in ours} <= COMMANDS.keys()
    assert (ROOT / ours[0]["build"]["dockerfile"]).is_file()


def test_its_variables_are_settings_that_are_known(compose: dict[str, Any]) -> None:
    """Each variable stands in the README's table, and together they are settings that send runs to workers."""
    environment = {name: value or "" for name, value in compose["services"]["worker1"]["environment"].items()}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in environment if f"| `{name}` |" not in readme] == []
    made = Settings.from_environment(environment)
    assert made.to_workers
    workers = [name for name in compose["services"] if name.startswith("worker")]
    at_once = sum(int(compose["services"][name]["command"][-1]) for name in workers)
    assert made.worker_slots == at_once


def test_the_ui_is_published_on_the_loopback_alone(compose: dict[str, Any]) -> None:
    """It has no login; nothing else is published, and no password stands in the file."""
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:3000:3000"]
    assert all("${" in line for line in (DEPLOY / "compose.yaml").read_text().splitlines() if "_PASSWORD: " in line)


def test_the_image_installs_from_the_lock_file_of_workers() -> None:
    """By the project's own script, so by hash; and both files say that they were not run here."""
    image = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert "deploy/install.sh workers" in image
    for name in ("Dockerfile", "compose.yaml"):
        assert (DEPLOY / name).read_text(encoding="utf-8").startswith("# Not run here")
    assert BROKER_URL not in image
