"""The entry point of workspace.yaml."""

import os
from functools import cache

import dagster as dg

from sigma_dagster.orchestration.build import Span, build_defs, span
from sigma_dagster.services import Services
from sigma_dagster.settings import Settings


@dg.definitions
def defs() -> dg.Definitions:
    """Give Dagster the definitions that the environment asks for.

    It asks twice for each run, and a worker's process executes many: they are made anew only where their days changed.
    """
    return _of_span(span(_services()))


@cache
def _services() -> Services:
    return Services.of(Settings.from_environment(os.environ))


@cache
def _of_span(_: Span) -> dg.Definitions:
    return build_defs(_services())
