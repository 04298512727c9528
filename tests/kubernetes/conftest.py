"""Three NATS nodes for all tests that want them."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.kubernetes.nodes import Node, start
from tests.kubernetes.rendered import workload


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    """The StatefulSet of `production`."""
    replicas = workload("production", "nats").spec["replicas"]
    with contextlib.ExitStack() as stack:
        yield start(stack, "production", tmp_path_factory.mktemp("nodes"), replicas)
