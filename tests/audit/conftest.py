"""Fixtures of the log's tests: an installation of its own, a page in Chromium."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.test import Client
from playwright.sync_api import Browser, sync_playwright

from tests.audit.installations import empty_installation
from tests.audit.verify_page import VerifyPage


@pytest.fixture
def installation(tmp_path: Path, db: None) -> Iterator[dict[str, str]]:
    """The environment of an empty installation with a database of its own."""
    with empty_installation(tmp_path) as environment:
        yield environment


@pytest.fixture(scope="module")
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture(scope="module")
def chromium(thread: ThreadPoolExecutor) -> Iterator[Browser]:
    playwright = thread.submit(sync_playwright().start).result()
    launch = thread.submit(
        playwright.chromium.launch, executable_path=shutil.which("chromium"), args=["--no-sandbox"]
    )
    yield launch.result()
    thread.submit(launch.result().close).result()
    thread.submit(playwright.stop).result()


@pytest.fixture
def page(chromium: Browser, thread: ThreadPoolExecutor, client: Client) -> Iterator[VerifyPage]:
    answer = client.get("/verify/")
    assert answer.status_code == 200
    opened = VerifyPage(answer, chromium, thread)  # type: ignore[arg-type]
    yield opened
    opened.close()
