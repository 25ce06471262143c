"""What is asked of the operating system."""

import errno
import os
from pathlib import Path

import pytest

from pybroker.storage.files import LinuxFiles


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="the system has no such reads")
@pytest.mark.parametrize(
    ("answer", "is_asked_for"), [(None, False), (errno.EAGAIN, True), (errno.EOPNOTSUPP, True)]
)
def test_reading_ahead_is_asked_for_unless_the_pages_are_known_to_be_there(
    answer: int | None, is_asked_for: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advice: list[tuple[int, int]] = []

    def preadv(*_: object) -> int:
        if answer is not None:
            raise OSError(answer, os.strerror(answer))
        return 1

    monkeypatch.setattr(os, "preadv", preadv)
    monkeypatch.setattr(
        os, "posix_fadvise", lambda _fd, position, size, _advice: advice.append((position, size))
    )
    path = tmp_path / "log"
    path.write_bytes(bytes(100))
    with path.open("rb") as file:
        LinuxFiles().will_read(file.fileno(), 10, 50)
    assert bool(advice) is is_asked_for
    assert set(advice) <= {(10, 50)}
