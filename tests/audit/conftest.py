"""Chromium, for the tests of the pages that work in a browser."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.test import Client
from playwright.sync_api import Browser, sync_playwright

from tests.audit.verify_page import VerifyPage


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
