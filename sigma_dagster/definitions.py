"""The entry point of workspace.yaml."""

import os
from functools import lru_cache

import dagster as dg

from sigma_dagster.orchestration.build import Span, build_defs, span
from sigma_dagster.services import Services
from sigma_dagster.settings import Settings


@dg.definitions
def defs() -> dg.Definitions:
    """Give Dagster the definitions that the environment asks for.

    It asks twice for each run, and a worker's process executes many: they are made anew only where their days changed.
    """
    settings = Settings.from_environment(os.environ)
    return _made(settings, span(_services(settings)))


@lru_cache(maxsize=1)
def _services(settings: Settings) -> Services:
    return Services.of(settings)


@lru_cache(maxsize=1)
def _made(settings: Settings, _: Span) -> dg.Definitions:
    return build_defs(_services(settings))
