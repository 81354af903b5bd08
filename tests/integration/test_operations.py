"""Pruning, the state of a home, alerts and the roles of Postgres: what keeps a home going for years."""

import json
import sqlite3
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope

from benchmarks.web import free_port
from resources.dagster_storage.event_log import forget_materializations
from resources.database.engine import Database
from resources.postgres import psycopg2_url
from sigma_dagster.orchestration import alerts
from sigma_dagster.orchestration.alerts import AlertError
from sigma_dagster.orchestration.build import build_defs
from sigma_dagster.settings import Alerts
from tests.support.certificate import make_certificate
from tests.support.home import CORE, ROOT, Home
from tests.support.ui import asked_here, bars

# --- pruning


@pytest.fixture
def ten(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with ten sessions, whose first date is its own."""
    home = Home(tmp_path_factory.mktemp("prune") / "sigma", {"SIGMA_HISTORY_SESSIONS": "10"})
    assert home.sigma_here("onboard", CORE).returncode == 0
    return home


def test_pruned_sessions_are_not_asked_for_again(ten: Home) -> None:
    """The last four stay, with their numbers; rows, records and partitions of the others are gone, and neither the plan
    nor a refresh brings them back."""
    before = ten.numbers("factor_exposure")
    done = ten.sigma_here("prune", "--keep", "4")
    assert done.returncode == 0, done.stderr
    sessions = sorted({row["session"] for row in before})[-4:]
    kept = [row for row in before if row["session"] in sessions]
    assert ten.numbers("factor_exposure") == kept
    assert {row["session"] for row in ten.numbers("portfolio_volatility")} == set(sessions)
    ten.assert_records_are_rows()
    with asked_here(ten) as ask:
        shown = bars(ask)
    assert shown["factor_exposures"] == (len(kept), len(kept))
    found = json.loads(ten.sigma_here("plan", "--json").stdout)
    assert (found["runs"], found["fetch"]) == (0, [])
    assert json.loads(ten.sigma_here("refresh", "--json").stdout)["regressions_run"] == 0
    assert ten.sigma_here("db", "check").returncode == 0
    assert "Nothing to drop" in ten.sigma_here("prune", "--keep", "4").stdout


def test_a_killed_prune_is_finished_by_the_next(ten: Home) -> None:
    """Rows are gone and records are not, as after a kill in between: the same command drops the rest."""
    recorded = ten.recorded("factor_exposures")
    assert ten.sigma_here("prune", "--keep", "4").returncode == 0
    first = min(key.partition("|")[0] for key in ten.recorded("factor_exposures"))
    with ten.instance() as instance:
        for key in sorted(recorded)[:3]:
            day, _, name = key.partition("|")
            partition = dg.MultiPartitionKey({"date": day, "symbol": name})
            instance.report_runless_asset_event(dg.AssetMaterialization("factor_exposures", partition=partition))
        instance.report_runless_asset_event(dg.AssetMaterialization("positions"))  # the newest event of all
    assert min(recorded) < first
    assert ten.sigma_here("prune", "--keep", "4").returncode == 0
    ten.assert_records_are_rows()


def test_splits_before_the_kept_sessions_stay(ten: Home) -> None:
    """Lots are counted in shares of an import that may be older: without its split, their value would be another."""
    (old,) = ten.query("SELECT min(session) FROM daily_price WHERE symbol = 'AAPL'")[0]
    with ten.sql() as connection:
        connection.execute("UPDATE daily_price SET split = 4 WHERE symbol = 'AAPL' AND session = ?", [old])
    assert ten.sigma_here("prune", "--keep", "4").returncode == 0
    left = ten.query("SELECT symbol, split FROM daily_price WHERE session = ?", old)
    assert left == [("AAPL", 4.0)]
    assert ten.query("SELECT first_session FROM symbol WHERE symbol = 'AAPL'") == [(old,)]


def test_more_sessions_than_there_are_stay(ten: Home) -> None:
    """Of a young home nothing is dropped, however many shall stay, also more than the calendar has."""
    before = ten.rows()
    for keep in ("10", "11", "10000"):
        done = ten.sigma_here("prune", "--keep", keep)
        assert (done.returncode, "Nothing to drop" in done.stdout) == (0, True), done.stderr
    assert ten.rows() == before


def test_a_backup_in_the_middle_of_a_run_passes_the_check(ten: Home, tmp_path: Path) -> None:
    """Rows are committed before their records: restored, the next run writes these, and that is no fault."""
    (day,) = ten.query("SELECT max(session) FROM factor_exposure")[0]
    with ten.instance() as instance:
        (run,) = (run for run in instance.get_runs() if run.job_name == "symbol_block")
        keys = [dg.MultiPartitionKey({"date": day, "symbol": "AAPL"})]
        newest = instance.event_log_storage.get_maximum_record_id()
        forget_materializations(instance, dg.AssetKey("factor_exposures"), keys, before=newest)
    lost = ten.sigma_here("db", "check")
    assert (lost.returncode, "1 rows without a record" in lost.stdout) == (1, True)
    with closing(sqlite3.connect(ten.path / "dagster/history/runs.db")) as runs, runs:
        body = """replace(run_body, '"SUCCESS"', '"STARTED"')"""
        runs.execute(f"UPDATE runs SET status = 'STARTED', run_body = {body} WHERE run_id = ?", [run.run_id])  # noqa: S608
    file, back = tmp_path / "night.tar", Home(tmp_path / "back", ten.variables)
    assert ten.sigma_here("db", "backup", file).returncode == 0
    assert back.sigma_here("db", "restore", file).returncode == 0
    told = back.sigma_here("db", "check")
    assert (told.returncode, "1 rows without a record; the next run writes them" in told.stdout) == (0, True)
    with back.sql() as connection:
        connection.execute("DELETE FROM portfolio_volatility WHERE session = ?", [day])
    assert back.sigma_here("refresh").returncode == 0
    assert "the next run" not in back.sigma_here("db", "check").stdout
    recorded = back.recorded("factor_exposures")
    assert (recorded.keys(), {*recorded.values()}) == (back.partitions_with_row("factor_exposures"), {1})


def test_a_start_date_of_the_settings_is_in_the_way(core_home: Home) -> None:
    """SIGMA_START_DATE would ask for the dropped sessions again: refused, and nothing is dropped."""
    before = core_home.rows()
    done = core_home.sigma_here("prune", "--keep", "2")
    assert (done.returncode, "SIGMA_START_DATE=2022-12-01" in done.stderr) == (2, True)
    assert core_home.rows() == before


# --- the state


def test_the_state_says_what_waits_and_what_failed(core_home: Home) -> None:
    """Nothing missing at first; a removed row is missing, and a symbol asked for in vain waits, by its source."""
    found = json.loads(core_home.sigma_here("status", "--json").stdout)
    assert sum(found["missing"]["rows"].values()) == found["waiting"] == 0
    assert found["daemon"] == {"last_heartbeat": None, "alive": False}
    assert {one["name"]: one["last_success"] for one in found["schedules"]} == {"daily_refresh": None, "preload": None}
    with core_home.sql() as connection:
        connection.execute("DELETE FROM portfolio_volatility WHERE session = '2022-12-28'")
        for name, day in (("AAPL", "2022-12-28"), ("MSFT", "2022-12-27")):
            values = (name, "failed", "down", day, "2022-12-29 00:00:00")
            connection.execute("INSERT INTO pending_fetch VALUES (?, ?, ?, ?, ?)", values)
    found = json.loads(core_home.sigma_here("status", "--json").stdout)
    assert found["missing"]["rows"]["portfolio_volatility"] == 1
    assert (found["waiting"], found["failures"], found["oldest_wait"]["symbol"]) == (2, {"sample": 2}, "MSFT")
    assert "longest MSFT" in core_home.sigma_here("status").stdout


# --- alerts


@contextmanager
def webhook(status: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that takes JSON: its address, and what it was told."""
    told: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook/s3cret", told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_webhook_is_told_of_a_failed_run() -> None:
    """The sensor itself over a run that failed: the run, its job and its error arrive as JSON."""

    @dg.op
    def breaks() -> None:
        raise ValueError("the disk is on fire")

    @dg.job
    def nightly() -> None:
        breaks()

    with webhook(200) as (address, told), dg.DagsterInstance.ephemeral() as instance:
        done = nightly.execute_in_process(instance=instance, raise_on_error=False)
        event = next(event for event in done.all_events if event.is_failure and not event.is_step_event)
        context = dg.build_run_status_sensor_context(alerts.NAME, event, instance, done.dagster_run)
        alerts.sensor(Alerts(webhook=address))(context.for_run_failure())
    (one,) = told
    assert (one["job"], one["run_id"]) == ("nightly", done.run_id)
    assert "the disk is on fire" in one["error"]
    assert one["text"].startswith("sigma: run ")


def test_an_alert_that_is_not_taken_says_so_without_the_address() -> None:
    """The address of a webhook is its secret: no error repeats it."""
    with webhook(500) as (address, _), pytest.raises(AlertError) as caught:
        alerts.send(Alerts(webhook=address), {"run_id": "1", "job": "nightly"})
    assert str(caught.value) == "the webhook answered HTTP 500"
    with pytest.raises(AlertError) as caught:  # its server has ended
        alerts.send(Alerts(webhook=address), {"run_id": "1", "job": "nightly"})
    assert "s3cret" not in str(caught.value)
    assert "did not answer" in str(caught.value)


class Mailbox:
    """A mail server that takes mail from who logs in."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []

    async def handle_DATA(self, _server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802 - its name there
        assert session.authenticated
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 taken"


@contextmanager
def mail_server(folder: Path) -> Iterator[tuple[str, list[EmailMessage]]]:
    """Its address, with a password that has special characters, and what it took; it offers TLS, and asks for it."""
    make_certificate(folder, "localhost")
    mailbox, tls = Mailbox(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")

    def login(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
        return AuthResult(success=(given.login, given.password) == (b"ann", b"p@ss/w:rd"))

    options = {"authenticator": login, "auth_required": True, "tls_context": tls}
    controller = Controller(mailbox, hostname="localhost", port=free_port(), **options)
    controller.start()
    try:
        yield f"smtp://ann:p%40ss%2Fw%3Ard@localhost:{controller.port}", mailbox.mails
    finally:
        controller.stop()


TOLD = {"text": "x", "run_id": "0123456789abcdef", "job": "nightly", "error": "the disk is on fire: caf\u00e9"}


def to_mail(address: str) -> Alerts:
    return Alerts(mail_to=("a@example.com", "b@example.com"), mail_from="s@example.com", smtp_url=address)


def test_a_mail_is_sent_of_a_failed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a mail server with TLS and a login: sender, every recipient, the run in the subject and its error."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    with mail_server(tmp_path) as (address, mails):
        alerts.send(to_mail(address), TOLD)
    (mail,) = mails
    assert (mail["From"], mail["To"]) == ("s@example.com", "a@example.com, b@example.com")
    assert mail["Subject"] == "sigma: run 01234567 of nightly failed"
    assert "error: the disk is on fire: caf\u00e9" in mail.get_content()


def test_a_mail_that_is_not_taken_says_so_without_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that nobody vouches for, a wrong password, and a server that is gone: nothing is sent, and the
    password goes to nobody else."""
    with mail_server(tmp_path) as (address, mails):
        with pytest.raises(AlertError, match="SSLCertVerificationError"):
            alerts.send(to_mail(address), TOLD)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        wrong = to_mail(address.replace("p%40ss", "s3cret"))
        with pytest.raises(AlertError, match="did not take the mail") as caught:
            alerts.send(wrong, TOLD)
    with pytest.raises(AlertError) as gone:
        alerts.send(wrong, TOLD)
    assert "s3cret" not in f"{caught.value} {gone.value}"
    assert mails == []


def test_alerts_are_off_by_default(home: Home) -> None:
    """Without a setting there is no such sensor; with a webhook there is one that runs."""
    for settings, there in (({}, False), ({"alert_webhook": "http://127.0.0.1:9/x"}, True)):
        names = {sensor.name for sensor in build_defs(home.environment(**settings)).sensors or ()}
        assert (alerts.NAME in names) == there


# --- roles


def test_the_reader_reads_views_and_writes_nothing(new_postgres_url: Callable[[], str]) -> None:
    """deploy/roles.sql on a new database, then again after the app has made its tables: the app can do its work; the
    reader reads every view, no table, and changes nothing."""
    url, roles = new_postgres_url(), (ROOT / "deploy" / "roles.sql").read_text(encoding="utf-8")
    owner = sa.create_engine(psycopg2_url(url), poolclass=sa.NullPool)

    def grant() -> None:
        with owner.begin() as connection:
            connection.exec_driver_sql(roles.replace("%", "%%"))

    grant()
    as_app = sa.make_url(url).update_query_dict({"options": "-c role=sigma_app"})
    database = Database(as_app)
    with database.write() as connection:
        connection.execute(sa.text("INSERT INTO portfolio (name) VALUES ('core')"))
    database.engine.dispose()
    grant()
    as_reader = sa.make_url(url).update_query_dict({"options": "-c role=sigma_reader"})
    reader = sa.create_engine(psycopg2_url(as_reader), poolclass=sa.NullPool)
    views = sa.inspect(owner).get_view_names()
    assert len(views) >= 4
    with reader.connect() as connection:
        for view in views:
            connection.execute(sa.text(f"SELECT * FROM {view}")).all()  # noqa: S608 - a view of ours
    for statement in (
        "SELECT * FROM portfolio",
        "INSERT INTO portfolio (name) VALUES ('evil')",
        "DELETE FROM portfolio_risk",
        "UPDATE lot SET quantity = 1",
        "CREATE TABLE evil (x int)",
        "CREATE TEMPORARY TABLE evil (x int)",
        "DROP VIEW portfolio_risk",
    ):
        refused = r"permission denied|must be owner|cannot delete from view"
        with reader.connect() as connection, pytest.raises(sa.exc.DBAPIError, match=refused):
            connection.execute(sa.text(statement))
