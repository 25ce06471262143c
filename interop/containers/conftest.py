"""One engine and one image for all containers of a run."""

from collections.abc import Iterator

import pytest

from interop.support.docker import IMAGE, Docker, build_image, docker_engine


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """An engine that answers."""
    with docker_engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def image(docker: Docker) -> str:
    """The name of the image of this checkout."""
    build_image(docker)
    return IMAGE
