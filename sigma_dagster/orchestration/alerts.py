"""The sensor `alerts`: tells a webhook or a mailbox that a run failed. There is none unless a setting asks for it.

What is told is the run, its job, what it worked on and its error; no setting, and no address of what is told.
"""

import smtplib
import socket
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import dagster as dg

from sigma_dagster.runs.request import LAUNCHED_BY_TAG
from sigma_dagster.settings import Alerts

NAME = "alerts"
_SECONDS = 10.0
_MOST_CHARACTERS = 2000


class AlertError(RuntimeError):
    """An alert that was not taken; the message names the way, and never the address."""


def sensor(alerts: Alerts) -> dg.SensorDefinition:
    """Make the sensor."""

    @dg.run_failure_sensor(
        name=NAME,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the webhook or the mailbox of the settings that a run failed.",
    )
    def told(context: dg.RunFailureSensorContext) -> None:
        send(alerts, content(context.dagster_run, _why(context)))

    return told


def _why(context: dg.RunFailureSensorContext) -> str:
    """Give the error of the first step that failed, else what Dagster says of the run."""
    for event in context.get_step_failure_events():
        error = event.step_failure_data.error_display_string
        if error:
            return error
    return context.failure_event.message or ""


def content(run: dg.DagsterRun, why: str) -> dict[str, Any]:
    """Give what is told, as the JSON of the webhook; `text` is what chat programs show."""
    cut = why if len(why) <= _MOST_CHARACTERS else f"{why[:_MOST_CHARACTERS]}..."
    return {
        "text": f"sigma: run {run.run_id[:8]} of {run.job_name} failed: {cut}",
        "run_id": run.run_id,
        "job": run.job_name,
        "launched_by": run.tags.get(LAUNCHED_BY_TAG, ""),
        "assets": sorted(key.to_user_string() for key in run.asset_selection or ()),
        "host": socket.gethostname(),
        "error": cut,
    }


def send(alerts: Alerts, told: Mapping[str, Any]) -> None:
    """Tell everybody that the settings name; raises AlertError after all were tried."""
    failed = []
    if alerts.webhook:
        failed += _post(alerts.webhook, told)
    if alerts.mail_to:
        failed += _mail(alerts, told)
    if failed:
        raise AlertError("; ".join(failed))


def _post(address: str, told: Mapping[str, Any]) -> list[str]:
    import requests  # only where alerts are wanted

    # An error of the library names the address, which is a secret.
    try:
        answer = requests.post(address, json=told, timeout=_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        return [f"the webhook did not answer ({type(error).__name__})"]
    return [] if answer.status_code < 300 else [f"the webhook answered HTTP {answer.status_code}"]


def _mail(alerts: Alerts, told: Mapping[str, Any]) -> list[str]:
    message = EmailMessage()
    message["Subject"] = f"sigma: run {told['run_id'][:8]} of {told['job']} failed"
    message["From"], message["To"] = alerts.mail_from, ", ".join(alerts.mail_to)
    message.set_content("\n".join(f"{name}: {value}" for name, value in told.items() if name != "text"))
    parts = urlsplit(alerts.smtp_url)
    try:
        with _connected(parts) as server:
            if parts.username:
                server.login(unquote(parts.username), unquote(parts.password or ""))
            server.send_message(message)
    except (smtplib.SMTPException, OSError) as error:
        return [f"the mail server did not take the mail ({type(error).__name__})"]
    return []


def _connected(parts: SplitResult) -> smtplib.SMTP:
    """Connect; a password goes to a server with a valid certificate alone, whether it is asked for TLS or offers it."""
    host, port, tls = parts.hostname or "", parts.port or 0, ssl.create_default_context()
    if parts.scheme == "smtps":
        return smtplib.SMTP_SSL(host, port, timeout=_SECONDS, context=tls)
    server = smtplib.SMTP(host, port, timeout=_SECONDS)
    server.ehlo_or_helo_if_needed()
    if parts.username or server.has_extn("starttls"):
        server.starttls(context=tls)
    return server
