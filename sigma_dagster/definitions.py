"""The entry point of workspace.yaml."""

import os

import dagster as dg

from sigma_dagster.orchestration.build import build_defs
from sigma_dagster.services import Services
from sigma_dagster.settings import Settings


@dg.definitions
def defs() -> dg.Definitions:
    """Give Dagster the definitions that the environment asks for."""
    return build_defs(Services.of(Settings.from_environment(os.environ)))
