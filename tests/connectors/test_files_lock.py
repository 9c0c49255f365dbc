"""The lock of a folder, by which our own workers keep apart."""

from pathlib import Path

import pytest

from connectors.folders import locked_folder


def test_the_lock_ends_with_its_holder_though_a_forked_child_has_its_handle_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as shared:
        shared.setattr("connectors.folders.os.close", lambda handle: None)
        with locked_folder(tmp_path) as ours:
            assert ours
            with locked_folder(tmp_path) as others:
                assert not others
    with locked_folder(tmp_path) as ours:
        assert ours
