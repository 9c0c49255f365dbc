"""An erasure that keeps a table's older versions, as the plan, lineage and the certificate tell."""

from pathlib import Path

import pytest
from django.test import Client

from compliance.actions.erasure import execute
from compliance.states import State
from lineage.actions import sync_connector
from lineage.models import Version
from reports.models import Certificate
from reports.tasks import render_due_documents
from tests.builders import sequenced
from tests.compliance.builders import approved, connected, team, work_off, write_table
from tests.reports.builders import path_of, text_of

pytestmark = pytest.mark.django_db


def test_older_versions_stay_and_every_page_says_so(tmp_path: Path, browser: Client) -> None:
    connector = connected(write_table(tmp_path / "purchases"), options={"history": "keep"})
    before = {v.version: v for v in Version.objects.filter(dataset__name="purchases")}
    people = team()
    request = approved(people)
    browser.force_login(people.analyst)
    page = browser.get(f"/requests/{request.reference}/").content.decode()
    assert "every version stays readable without them" in page
    assert "older versions go" not in page

    execute(request, by=people.analyst)
    work_off(request)
    assert request.state == State.RESPONDING, request.reason
    versions = {v.version: v for v in Version.objects.filter(dataset__name="purchases")}
    assert {v: row.rows for v, row in versions.items()} == {"0": 2, "1": 4, "2": 6, "3": 6}
    assert not any(row.purged_at for row in versions.values())
    assert all(versions[v].digest != row.digest for v, row in before.items())
    told = {e.resource_version: e for e in sequenced() if e.type == "dataset.version_rewritten"}
    assert told.keys() == before.keys()
    again = sync_connector(connector, by=people.data_owner)
    assert (again.added, again.purged, again.returned, again.changed) == ((), (), (), ())
    assert "dataset.version_changed" not in {e.type for e in sequenced()}

    render_due_documents()
    certificate = Certificate.objects.get(request=request)
    assert certificate.content
    (place,) = certificate.content["locations"]
    assert (place["history_kept"], place["versions_purged"]) == (True, [])
    assert (place["new_version"], place["method"]) == ("3", "erase in every version")
    text = " ".join(text_of(path_of(certificate.pdf_file, tmp_path)).split())
    assert "the older versions stay readable without them" in text
    assert "Older versions keep their numbers and can still be read, without the person" in text
    assert "with the history" not in text
