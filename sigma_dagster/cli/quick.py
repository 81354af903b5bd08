"""Keep typer from importing pydantic for options that need none: it takes a quarter of a short command's time.

Typer makes every option's value what it is annotated as by pydantic, also one that is left out and a string that
stays a string. Not here: what the options mean (`app`, `computing`, `reading`).
"""

from typing import Any

import typer
from typer.main import get_command


class _Quick:
    """What typer asks for an option's value; it turns to typer's own way once there is something to convert."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        if value is None or (isinstance(value, str) and param.type_descriptor.annotation is str):
            return value
        param._runtime_param = None
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def command(app: typer.Typer) -> Any:
    """Give the app's command. Where another typer knows nothing of `_runtime_param`, it is only slower."""
    made: Any = get_command(app)
    for each in (made, *made.commands.values()):
        # With the option --help, which is made only when it is asked for.
        for param in each.get_params(typer.Context(each, **made.context_settings)):
            if param.nargs == 1 and not param.multiple:
                param._runtime_param = _Quick()
    return made
