"""Lineage's pages as people meet them, with and without graphviz."""

import re
import shutil
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from lineage.actions import register_version, sync_connector
from lineage.drawing import draw
from lineage.models import Dataset, Version
from lineage.queries import graph
from tests.builders import sequenced
from tests.connectors.builders import table_with_person
from tests.lineage.builders import START, dataset, run_event, take_in

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")


@pytest.fixture
def churn(pipeline: User) -> Dataset:
    take_in(
        run_event(
            "clean", "c1", inputs=[dataset("raw", "1")],
            outputs=[dataset(
                "features", "7",
                schema={"fields": [{"name": "email", "type": "string"}]},
                tags={"tags": [{"key": "pii", "value": "true"}]},
            )],
        ),
        pipeline,
    )  # fmt: skip
    take_in(
        run_event(
            "train", "t1", minutes=5, inputs=[dataset("features", "7")],
            outputs=[dataset("churn", "3", model=True)],
            run_facets={"vestige_metrics": {"auc": 0.7125}},
        ),
        pipeline,
    )  # fmt: skip
    return Dataset.objects.get(kind="model")


def get(browser: Client, user: User, path: str) -> str:
    browser.force_login(user)
    answer = browser.get(path)
    assert answer.status_code == 200, answer.status_code
    return answer.content.decode()


def test_the_dataset_list_is_searched_and_flags_personal_data(
    churn: Dataset, auditor: User, browser: Client
) -> None:
    page = get(browser, auditor, "/datasets/")
    assert "features" in page
    assert "raw" in page
    assert page.count('<span class="tag warn">personal data</span>') == 1

    found = get(browser, auditor, "/datasets/?q=feat")
    assert "features" in found
    assert ">raw<" not in found
    assert "features" not in get(browser, auditor, "/datasets/?personal=no")
    assert "No dataset matches" in get(browser, auditor, "/datasets/?q=nothing")


def test_empty_lists_say_where_entries_come_from(auditor: User, browser: Client) -> None:
    assert "They appear when a pipeline sends" in get(browser, auditor, "/datasets/")
    assert "A model appears when" in get(browser, auditor, "/models/")


def test_lists_are_paged_both_ways(pipeline: User, auditor: User, browser: Client) -> None:
    Dataset.objects.bulk_create(
        Dataset(namespace="n", name=f"table {n:03}", node=f"dataset:n:table {n:03}")
        for n in range(120)
    )
    page = get(browser, auditor, "/datasets/")
    seen = [re.findall(r">(table \d+)</a>", page)]
    while found := re.search(r'rel="next" href="([^"]+)"', page):
        page = get(browser, auditor, "/datasets/" + found[1].replace("&amp;", "&"))
        seen.append(re.findall(r">(table \d+)</a>", page))
    assert [len(rows) for rows in seen] == [50, 50, 20]
    assert [name for names in seen for name in names] == [f"table {n:03}" for n in range(120)]
    back = re.search(r'rel="prev" href="([^"]+)"', page)
    assert back is not None
    page = get(browser, auditor, "/datasets/" + back[1].replace("&amp;", "&"))
    assert re.findall(r">(table \d+)</a>", page) == seen[1]


def test_a_dataset_page_has_versions_columns_and_a_store(
    data_owner: User, browser: Client, tmp_path: Path
) -> None:
    from connectors.actions import create_connector

    connector = create_connector(
        kind="delta", location=str(table_with_person(tmp_path / "customers")),
        subject_columns={"customer_id": "customer"}, name="Customers", by=data_owner,
    )  # fmt: skip
    table = sync_connector(connector, by=data_owner).dataset
    Version.objects.filter(version="0").update(purged_at=START)

    page = get(browser, data_owner, f"/datasets/{table.pk}/")

    assert page.count("in the store") == 4
    assert page.count('<span class="tag quiet">purged</span>') == 1
    assert "customer_id" in page
    assert "Read versions from the store" in page
    browser.force_login(data_owner)
    again = browser.post(f"/datasets/{table.pk}/sync/", follow=True).content.decode()
    assert "5 versions in the store" in again


def test_the_lineage_section_draws_and_lists_the_edges(
    churn: Dataset, auditor: User, browser: Client
) -> None:
    page = get(browser, auditor, f"/models/{churn.pk}/?tab=lineage")
    assert "features" in page
    assert "Input and output of one run" in page
    assert '<option value="3" selected>' in page  # the depth that is shown
    version = get(browser, auditor, f"/models/{churn.pk}/?tab=lineage&version=3&direction=upstream")
    assert "of version" in version
    assert "t1" in version
    browser.force_login(auditor)
    assert browser.get(f"/models/{churn.pk}/?tab=lineage&version=99").status_code == 404
    assert browser.get(f"/models/{churn.pk}/?tab=nothing").status_code == 404
    old = get(browser, auditor, f"/models/{churn.pk}/?tab=lineage&as_of=2020-01-01T00:00")
    assert "No run that read or wrote it" in old


@needs_dot
def test_the_drawing_is_one_named_svg_with_links_and_no_script(
    churn: Dataset, auditor: User, browser: Client
) -> None:
    page = get(browser, auditor, f"/models/{churn.pk}/?tab=lineage")

    drawn = re.search(r"<svg.*?</svg>", page, re.DOTALL)
    assert drawn is not None
    svg = drawn[0]
    assert 'role="group"' in svg
    assert '<title id="graph-title">Lineage of churn</title>' in svg
    assert 'class="node model here"' in svg
    features = Dataset.objects.get(name="features")
    assert f'href="/datasets/{features.pk}/?tab=lineage"' in svg
    assert "style=" not in svg
    assert "<!--" not in svg


@needs_dot
def test_names_cannot_break_out_of_the_drawing(pipeline: User) -> None:
    nasty = '"];x[label="</text></svg><script>alert(1)</script>&amp;\\'
    take_in(
        run_event("job <b>", "r", inputs=[dataset(nasty)], outputs=[dataset("fine", "1")]), pipeline
    )

    drawn = draw(graph("dataset:s3://lake:fine"), {}, title="<script>").svg

    assert drawn
    assert "<script" not in drawn
    assert drawn.count("<svg") == 1
    assert drawn.count('class="node dataset') == 2


def test_without_graphviz_the_table_speaks_alone(
    churn: Dataset, auditor: User, browser: Client
) -> None:
    with patch("shutil.which", return_value=None):
        page = get(browser, auditor, f"/models/{churn.pk}/?tab=lineage")

    assert "apt-get install graphviz" in page
    assert "<svg" not in page
    assert "features" in page


def test_a_graph_too_large_to_draw_says_so(pipeline: User, auditor: User, browser: Client) -> None:
    take_in(
        run_event("join", "r", inputs=[dataset(f"part {n}", "1") for n in range(130)],
                  outputs=[dataset("all", "1")]),
        pipeline,
    )  # fmt: skip
    everything = Dataset.objects.get(name="all")

    page = get(browser, auditor, f"/datasets/{everything.pk}/?tab=lineage")

    assert "131 nodes and 130 edges are too many to draw" in page
    assert "part 129" in page


def test_the_history_is_the_log_of_this_dataset(
    churn: Dataset, auditor: User, data_owner: User, browser: Client
) -> None:
    sequenced()
    page = get(browser, auditor, f"/models/{churn.pk}/?tab=history")

    assert "dataset.version_recorded" in page
    assert "dataset.registered" in page
    assert "/log/" in page
    browser.force_login(data_owner)
    assert browser.get(f"/models/{churn.pk}/?tab=history").status_code == 403
    assert "?tab=history" not in get(browser, data_owner, f"/models/{churn.pk}/")


def test_a_model_owner_decides_on_the_page(
    churn: Dataset, model_owner: User, auditor: User, browser: Client
) -> None:
    version = Version.objects.get(version="3")
    page = get(browser, model_owner, f"/models/{churn.pk}/")
    assert "auc" in page
    assert "0.7125" in page
    assert "Put in use" in page

    used = browser.post(f"/models/{churn.pk}/{version.pk}/use/", follow=True).content.decode()
    assert "Version 3 is in use from now on." in used
    retired = browser.post(f"/models/{churn.pk}/{version.pk}/retire/", follow=True)
    assert "Version 3 is retired." in retired.content.decode()
    again = browser.post(f"/models/{churn.pk}/{version.pk}/use/", follow=True).content.decode()
    assert "was retired" in again

    assert "Put in use" not in get(browser, auditor, f"/models/{churn.pk}/")
    assert browser.post(f"/models/{churn.pk}/{version.pk}/use/").status_code == 403
    assert browser.get(f"/models/{churn.pk}/{version.pk}/use/").status_code in (403, 405)


def test_a_model_in_use_that_learned_from_purged_data_is_flagged(
    churn: Dataset, auditor: User, browser: Client
) -> None:
    Version.objects.filter(dataset=churn).update(in_use=True)
    assert "retraining due" not in get(browser, auditor, "/models/")

    Version.objects.filter(dataset__name="raw").update(purged_at=START)

    assert "retraining due" in get(browser, auditor, "/models/")
    assert "data purged since" in get(browser, auditor, f"/models/{churn.pk}/")
    assert "churn" in get(browser, auditor, "/models/?use=yes")
    assert "No model matches" in get(browser, auditor, "/models/?use=no")


def test_pages_of_many_versions_need_few_queries(
    pipeline: User, auditor: User, browser: Client,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:  # fmt: skip
    data = register_version(namespace="s3://lake", name="features", version="1", by=pipeline)
    for number in range(60):
        made = register_version(
            kind="model", namespace="models", name="m", version=str(number), by=pipeline,
            made_from=[data], created_at=START + timedelta(minutes=number),
        )  # fmt: skip
    browser.force_login(auditor)

    for path in (
        f"/models/{made.dataset_id}/", f"/models/{made.dataset_id}/?tab=lineage", "/models/",
        "/datasets/", f"/datasets/{data.dataset_id}/",
    ):  # fmt: skip
        with django_assert_max_num_queries(18):
            assert browser.get(path).status_code == 200

    page = get(browser, auditor, f"/models/{made.dataset_id}/")
    older = re.search(r'rel="next" href="([^"]+)"', page)
    assert older is not None
    rest = get(browser, auditor, f"/models/{made.dataset_id}/" + older[1])
    assert len(re.findall(r"tab=lineage&amp;version=\d+", rest)) == 10


def test_pages_ask_for_a_sign_in(browser: Client, db: None) -> None:
    for path in ("/datasets/", "/models/"):
        answer = browser.get(path)
        assert answer.status_code == 302
        assert "/sign-in/" in answer.headers["Location"]
