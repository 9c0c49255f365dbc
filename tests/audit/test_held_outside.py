"""What the pages and the REST interface show of who holds the log outside."""

from base64 import b64decode
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.actions import (
    anchor_at,
    append,
    due_places,
    note_anchor,
    note_anchor_fault,
    verify_stored_log,
)
from audit.held import held_outside, witnessed_note
from audit.ledger.checkpoint import parse, verify_note
from audit.ledger.cosignature import cosign, cosignatures, parse_witness_vkey, witness_vkey
from audit.models import MAIN_LOG, Anchor, AnchorAttempt
from audit.models import Checkpoint as KeptCheckpoint
from audit.queries import covering_checkpoint, latest_checkpoint, verifier_key
from audit.timestamps import verify_token
from tests.audit.builders import as_database_owner, event, log_with, sql, verified
from tests.audit.outside import CertificateAuthority, Server
from tests.builders import Api

pytestmark = pytest.mark.django_db
KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3)]
NAMES = ["witness.example/w0", "witness.example/w1", "witness.example/w2"]
WITNESSES = "".join(
    f"witness W{n} {witness_vkey(NAMES[n], key.public_key())} https://w{n}.example/\n"
    for n, key in enumerate(KEYS)
)
NOBODY = "Nothing outside holds this log's checkpoints yet"


@pytest.fixture
def reader(auditor: User) -> Client:
    client = Client()
    client.force_login(auditor)
    return client


def text_of(client: Client, address: str = "/log/") -> str:
    return str(client.get(address).content.decode())


def cosigned(number: int) -> Anchor:
    """The newest checkpoint, held by one of the witnesses."""
    signed = covering_checkpoint()
    line = cosign(signed.note, NAMES[number], KEYS[number], int(timezone.now().timestamp()))
    note_anchor(
        MAIN_LOG, "witness", NAMES[number],
        size=signed.size, root=signed.root, note=signed.note, proof=line.encode(),
    )  # fmt: skip
    return Anchor.objects.get(name=NAMES[number], size=signed.size)


def with_quorum(settings: Any, quorum: str = "group G 2 W0 W1 W2\nquorum G\n") -> None:
    settings.VESTIGE_WITNESSES = WITNESSES + quorum


# Pages


def test_an_installation_that_nobody_outside_knows_says_so(reader: Client) -> None:
    log_with(10)
    for address in ("/log/", "/log/verification/"):
        assert NOBODY in text_of(reader, address)


def test_what_is_held_and_how_old_it_is_stands_on_both_pages(reader: Client, settings: Any) -> None:
    log_with(300)
    with_quorum(settings)
    cosigned(0)
    for address in ("/log/", "/log/verification/"):
        page = text_of(reader, address)
        assert NAMES[0] in page
        assert 'class="tag ok">holds it' in page
        assert page.count("not asked yet") == 2
        assert "2 of W0, W1, W2 must have cosigned" in page
        assert "300 entries, <time" in page  # in the strip


def test_a_fault_is_shown_as_it_was_and_turns_the_strip_amber(
    reader: Client, settings: Any, auditor: User
) -> None:
    log_with(10)
    verify_stored_log(by=auditor)
    assert 'class="card integrity ok"' in text_of(reader)
    with_quorum(settings)
    note_anchor_fault(MAIN_LOG, "witness", NAMES[0], fault="It cannot be reached <x>.")
    page = text_of(reader)
    assert "It cannot be reached &lt;x&gt;." in page
    assert "last try failed" in page
    assert 'class="card warn" id="held-outside"' in page
    assert 'class="card integrity warn"' in page


def test_a_contradiction_turns_everything_red_and_stays(
    reader: Client, settings: Any, auditor: User
) -> None:
    log_with(10)
    with_quorum(settings)
    cosigned(0)
    note_anchor_fault(MAIN_LOG, "witness", NAMES[0], fault="It refuses.", grave=True)
    assert "contradicted outside" in text_of(reader)  # whether anybody has verified here or not
    verify_stored_log(by=auditor)
    note_anchor_fault(MAIN_LOG, "witness", NAMES[0], fault="It cannot be reached.")
    page = text_of(reader)
    assert page.index('id="held-outside"') < page.index(">Entries</h2>")
    assert "contradicts this log" in page
    assert "It refuses." in page
    assert 'class="card bad" id="held-outside"' in page
    assert 'class="card integrity bad"' in page
    assert "contradicted outside" in page
    assert "Held outside</dt>" not in page  # the strip does not boast with what is disputed
    cosigned(0)
    assert 'class="card integrity bad"' not in text_of(reader)


def test_a_log_that_is_shorter_than_what_is_held_is_said_at_once(settings: Any) -> None:
    log_with(300)
    with_quorum(settings)
    cosigned(0)
    with as_database_owner():
        sql("DELETE FROM audit_entry WHERE seq >= 290")
        sql("UPDATE audit_log SET size = 290, note_size = -1")
    held = held_outside().places[0]
    assert (held.word, held.state) == ("contradicts this log", "bad")
    assert "Entries were removed" in held.fault


def test_a_published_copy_is_shown_beside_them(settings: Any) -> None:
    log_with(10)
    with_quorum(settings)
    signed = covering_checkpoint()
    note_anchor(
        MAIN_LOG, "publication", "s3://evidence",
        size=signed.size, root=signed.root, note=signed.note,
    )  # fmt: skip
    held = held_outside().places[-1]
    assert (held.kind_name, held.word, held.state) == ("Published copy", "holds it", "ok")
    assert verified().ok


def test_a_place_is_late_when_entries_wait_for_three_intervals(settings: Any) -> None:
    by = log_with(10)
    with_quorum(settings)
    cosigned(0)
    assert held_outside().places[0].word == "holds it"
    Anchor.objects.update(made_at=timezone.now() - timedelta(days=9))
    assert not held_outside().places[0].late  # a log that does not grow needs no new cosignature
    append([event(100)], by=by)
    covering_checkpoint()
    assert not held_outside().places[0].late
    grew = KeptCheckpoint.objects.order_by("-size").first()
    assert grew is not None
    settings.VESTIGE_WITNESS_INTERVAL = 0
    assert held_outside().places[0].late
    assert held_outside().kind == "warn"
    assert held_outside().places[1].late  # it was never reached at all


def test_a_place_that_is_not_configured_any_more_is_shown_without_a_claim(settings: Any) -> None:
    log_with(10)
    with_quorum(settings)
    cosigned(0)
    settings.VESTIGE_WITNESSES = ""
    (held,) = held_outside().places
    assert (held.word, held.state, held.late) == ("not asked any more", "quiet", False)
    assert held_outside().kind == ""


def test_settings_that_do_not_work_are_said_on_the_page_and_break_nothing(
    reader: Client, settings: Any
) -> None:
    log_with(10)
    settings.VESTIGE_WITNESSES = "quorum nobody\n"
    page = text_of(reader)
    assert "VESTIGE_WITNESSES: line 1: no witness or group nobody" in page
    assert verified().ok
    assert witnessed_note() == ""


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        ({"VESTIGE_WITNESSES": WITNESSES}, "no line `quorum"),
        ({"VESTIGE_WITNESSES": f"{WITNESSES}quorum W9"}, "W9"),
        (
            {"VESTIGE_WITNESSES": WITNESSES.replace("https", "http") + "quorum none"},
            "use https",
        ),
        ({"VESTIGE_WITNESSES": WITNESSES.replace("//w1", "//me:pw@w1") + "quorum none"}, "no user"),
        ({"VESTIGE_WITNESSES": WITNESSES.replace("https://w1", "file:") + "quorum none"}, "https"),
        ({"VESTIGE_WITNESSES": WITNESSES.replace("e/\n", "e:x/\n") + "quorum none"}, "no address"),
        ({"VESTIGE_WITNESSES_FILE": "/nowhere/policy"}, "cannot be read"),
        ({"VESTIGE_TSA_URL": "http://tsa.example/"}, "use https"),
        ({"VESTIGE_TSA_URL": "https://tsa.example/"}, "VESTIGE_TSA_CERTIFICATE is missing"),
        (
            {"VESTIGE_TSA_URL": "https://tsa.example/", "VESTIGE_TSA_CERTIFICATE": "/nowhere"},
            "cannot be read",
        ),
        (
            {"VESTIGE_TSA_URL": "https://tsa.example/", "VESTIGE_TSA_CERTIFICATE": __file__},
            "cannot be used",
        ),
    ],
)
def test_settings_that_do_not_work_fail_the_check_by_name(
    settings: Any, names: dict[str, str], fault: str
) -> None:
    for name, value in names.items():
        setattr(settings, name, value)
    with pytest.raises(SystemCheckError, match=fault):
        call_command("check")


def test_a_policy_may_lie_in_a_file(settings: Any, tmp_path: Path) -> None:
    path = tmp_path / "policy"
    path.write_text(f"{WITNESSES}quorum none\n")
    settings.VESTIGE_WITNESSES_FILE = str(path)
    assert [held.name for held in held_outside().places] == NAMES


# REST


def test_the_anchors_are_listed_for_those_who_may_read(
    api: Api, auditor: User, pipeline: User, client: Client, settings: Any
) -> None:
    log_with(300)
    with_quorum(settings)
    anchor = cosigned(0)
    note_anchor_fault(MAIN_LOG, "witness", NAMES[1], fault="It refuses.", grave=True)
    assert client.get("/api/v1/log/anchors").status_code == 401
    assert api(pipeline).get("/api/v1/log/anchors").status_code == 403
    answer = api(auditor).get("/api/v1/log/anchors").json()
    assert answer["quorum"] == "2 of W0, W1, W2 must have cosigned"
    first, second, third = answer["results"]
    assert first["newest"]["size"] == 300
    assert first["newest"]["root"] == bytes(anchor.root).hex()
    line = b64decode(first["newest"]["proof"]).decode()
    key = parse_witness_vkey(witness_vkey(NAMES[0], KEYS[0].public_key()))
    assert cosignatures(first["newest"]["checkpoint"] + line, [key])
    assert (first["fault"], first["contradicts"], first["state"]) == (None, False, "holds it")
    assert (second["fault"], second["contradicts"]) == ("It refuses.", True)
    assert second["newest"] is None
    assert third["url"] == "https://w2.example/"
    assert third["tried_at"] is None


def test_the_witnessed_checkpoint_has_the_lines_of_all_and_waits_for_the_quorum(
    client: Client, settings: Any
) -> None:
    by = log_with(300)
    with_quorum(settings)
    address = "/log/checkpoint?witnessed=1"
    cosigned(0)
    assert client.get(address).status_code == 404  # one of two
    for number in (1, 2):
        cosigned(number)
    append([event(1000)], by=by)
    cosigned(0)  # the newest checkpoint has one cosignature only
    answer = client.get(address)
    assert answer.status_code == 200
    note = answer.content.decode()
    assert client.get(f"/api/v1{address}").content.decode() == note
    assert verify_note(note, [verifier_key()]).size == 300
    keys = [
        parse_witness_vkey(witness_vkey(name, key.public_key()))
        for name, key in zip(NAMES, KEYS, strict=True)
    ]
    assert len(cosignatures(note, keys)) == 3
    newest = latest_checkpoint()
    assert newest is not None
    assert client.get("/log/checkpoint").content.decode() == newest.note
    assert newest.size == 301


@pytest.mark.parametrize("spoiled", ["— witness.example/w1", "— witness.example/w9", "rubbish"])
def test_a_line_that_does_not_hold_is_left_out_of_the_witnessed_checkpoint(
    client: Client, settings: Any, spoiled: str
) -> None:
    log_with(300)
    with_quorum(settings, "quorum none\n")
    cosigned(0)
    forged = cosigned(1)
    _, _, blob = bytes(forged.proof).decode().rpartition(" ")
    blob = blob[:60] + ("A" if blob[60] != "A" else "B") + blob[61:]
    Anchor.objects.filter(pk=forged.pk).update(proof=f"{spoiled} {blob}".encode())
    note = client.get("/log/checkpoint?witnessed=1").content.decode()
    assert [line.name for line in parse(note)[1]] == [settings.VESTIGE_ORIGIN, NAMES[0]]


# Time stamps


@pytest.fixture
def ca(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority(tmp_path / "ca")


@pytest.fixture
def tsa(ca: CertificateAuthority, settings: Any) -> Iterator[Server]:
    server = ca.serve()
    settings.VESTIGE_TSA_URL = server.url
    settings.VESTIGE_TSA_CERTIFICATE = str(ca.root_file)
    yield server
    server.stop()


def stamped() -> bool:
    AnchorAttempt.objects.update(tried_at=None)
    (place,) = due_places()
    return anchor_at(MAIN_LOG, place.kind, place.name)


@pytest.mark.enable_socket
def test_a_checkpoint_is_stamped_once_an_interval_and_shown(
    tsa: Server, ca: CertificateAuthority, reader: Client, api: Api, auditor: User
) -> None:
    by = log_with(300)
    assert stamped()
    anchor = Anchor.objects.get()
    assert (anchor.kind, anchor.size) == ("timestamp", 300)
    assert verify_token(bytes(anchor.proof), anchor.note, (ca.root,)) == anchor.made_at
    append([event(1000)], by=by)
    assert due_places() == []  # an hour is not over
    AnchorAttempt.objects.update(tried_at=timezone.now() - timedelta(hours=1))
    assert len(due_places()) == 1
    page = text_of(reader)
    assert "Time stamp" in page
    assert tsa.url.removeprefix("http://") in page
    (listed,) = api(auditor).get("/api/v1/log/anchors").json()["results"]
    token = b64decode(listed["newest"]["proof"])
    assert verify_token(token, listed["newest"]["checkpoint"], (ca.root,))
    assert verified().ok


@pytest.mark.enable_socket
def test_an_authority_that_fails_is_asked_again_before_the_hour_is_over(
    tsa: Server, ca: CertificateAuthority, tmp_path: Path, settings: Any
) -> None:
    log_with(10)
    settings.VESTIGE_TSA_CERTIFICATE = str(CertificateAuthority(tmp_path / "other").root_file)
    assert not stamped()
    assert "not good" in AnchorAttempt.objects.get().fault
    assert due_places() == []
    AnchorAttempt.objects.update(tried_at=timezone.now() - timedelta(minutes=5))
    settings.VESTIGE_TSA_CERTIFICATE = str(ca.root_file)
    (place,) = due_places()
    assert anchor_at(MAIN_LOG, place.kind, place.name)
    assert AnchorAttempt.objects.get().fault == ""


@pytest.mark.enable_socket
def test_a_token_that_was_changed_in_the_database_is_found(tsa: Server) -> None:
    log_with(10)
    assert stamped()
    token = bytes(Anchor.objects.get().proof)
    Anchor.objects.update(proof=token[:-3] + bytes(3))
    assert any("time stamp is not good" in str(found) for found in verified().findings)
    Anchor.objects.update(proof=b"")
    assert not verified().ok


@pytest.mark.enable_socket
def test_a_stamped_checkpoint_is_a_root_that_the_log_must_contain(tsa: Server) -> None:
    by = log_with(300)
    assert stamped()
    append([event(1000)], by=by)
    other = covering_checkpoint()
    Anchor.objects.update(note=other.note)  # of another size than the token speaks of
    outcome = verified()
    assert any("covers something else" in str(finding) for finding in outcome.findings)
