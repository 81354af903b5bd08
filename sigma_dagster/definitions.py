"""The entry point of workspace.yaml."""

import os
from functools import lru_cache

import dagster as dg

from resources.database.prices import Reader
from sigma_dagster.orchestration.build import Span, build_defs, span
from sigma_dagster.services import Services
from sigma_dagster.settings import Settings


@dg.definitions
def defs() -> dg.Definitions:
    """Give Dagster the definitions that the environment asks for.

    It asks twice for each run, and a worker's process executes many: they are made anew only where their days changed.
    Raises OtherReleaseError: a worker that was not restarted must not write to what a newer release has upgraded.
    """
    settings = Settings.from_environment(os.environ)
    services = services_of(settings)
    services.database.check_release()
    return _made(settings, span(services))


@lru_cache(maxsize=1)
def services_of(settings: Settings) -> Services:
    """Give the parts that the definitions work with, the same ones in this process while the settings are the same."""
    return Services.of(settings)


@lru_cache(maxsize=1)
def _made(settings: Settings, _: Span) -> dg.Definitions:
    # Of a run alone: a worker lives for months, and a symbol that was forgotten and stored again has its old revisions.
    return build_defs(services_of(settings), _price_reader)


@dg.resource(description="The prices that results rest on, read once in a run.")
def _price_reader() -> Reader:
    return Reader()
