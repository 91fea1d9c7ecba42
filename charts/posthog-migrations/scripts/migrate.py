"""Migrate PostHog's databases step by step, never twice at once, and give the first organization to its owner.

Every step does only what is not done yet, so whatever ends this in the middle, the next run goes on from there.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import psycopg  # type: ignore[import-not-found] # PostHog's image has it

# Any number that nobody else takes: the letters of "posthog".
LOCK = 0x706F7374686F67
PAUSE = float(os.environ.get("PAUSE", "5"))

# PostHog's own rule says whether a visitor may sign up. The one who may do so once is made here.
OWNER = """
import os
from django.contrib.auth.models import AnonymousUser
from posthog.models import User
from posthog.utils import get_can_create_org
if get_can_create_org(AnonymousUser()):
    User.objects.bootstrap(
        organization_name=os.environ["OWNER_ORGANIZATION"],
        email=os.environ["OWNER_EMAIL"],
        password=os.environ["OWNER_PASSWORD"],
        first_name="Admin",
        is_staff=True,
        is_email_verified=True,
    )
if get_can_create_org(AnonymousUser()):
    raise SystemExit("anybody could still sign up")
"""


def say(words: str) -> None:
    """Print a line at once."""
    print(words, flush=True)  # noqa: T201 (the Job's log)


def locked() -> psycopg.Connection:
    """Return a connection that holds the lock for as long as it lives; wait for the database, and for who has it."""
    while True:
        try:
            connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, connect_timeout=10)
            # A node that is gone must not hold it for hours.
            connection.execute("SET tcp_keepalives_idle = 30")
            connection.execute("SET tcp_keepalives_interval = 10")
            connection.execute("SET tcp_keepalives_count = 3")
            break
        except psycopg.OperationalError as error:
            say(f"waiting for the database: {error}")
            time.sleep(PAUSE)
    while not connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()[0]:
        say("waiting for other migrations to end")
        time.sleep(PAUSE)
    return connection


def manage(connection: psycopg.Connection, *arguments: str) -> None:
    """Run one of PostHog's commands while the lock is held; without it, or where it fails, end everything."""
    process = subprocess.Popen(["python", "manage.py", *arguments])  # noqa: S603, S607 (PostHog's own)
    try:
        while True:
            try:
                status = process.wait(timeout=PAUSE)
                break
            except subprocess.TimeoutExpired:
                connection.execute("SELECT 1")
    finally:
        process.kill()
        process.wait()
    if status != 0:
        sys.exit(f"manage.py {arguments[0]} failed with {status}: what it said stands above")


def steps(connection: psycopg.Connection) -> list[tuple[str, Callable[[], None]]]:
    """Return what is done, in this order: ClickHouse's migrations read settings that Postgres' have made."""

    def command(*arguments: str) -> Callable[[], None]:
        return lambda: manage(connection, *arguments)

    persons = [("the tables of persons", command("apply_persons_migrations", "--hobby"))]
    return [
        ("the tables in Postgres", command("migrate", "--noinput")),
        # Older images make them with the others.
        *(persons if Path("rust/persons_migrations").is_dir() else []),
        ("the tables in ClickHouse", command("migrate_clickhouse")),
        ("the same tables on every replica", command("sync_replicated_schema")),
        ("what needs no migration in the background", command("run_async_migrations", "--complete-noop-migrations")),
        ("migrations in the background", command("run_async_migrations", "--check")),
        ("the owner", command("shell", "-c", OWNER)),
    ]


def end(_: int, __: FrameType | None) -> None:
    """End as the first process of a container does not by itself."""
    sys.exit("ended in the middle: the next run goes on from there")


def main() -> None:
    """Run all steps."""
    signal.signal(signal.SIGTERM, end)
    connection = locked()
    for words, run in steps(connection):
        say(f"--- {words} ---")
        run()
    say("everything is done")


if __name__ == "__main__":
    main()
