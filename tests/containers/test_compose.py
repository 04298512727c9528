"""docs/how-to/run-in-containers.md, run as written: compose brings everything up, the README's walk runs, nothing is left."""

import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.models.containers import Container
from nurture_local import compose_env
from nurture_local.ports import free_port

from tests.containers import definition
from tests.containers.system import ROOMS, engine, remove
from tests.journeys.system import CLEAN, NURTURE, eventually

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/how-to/run-in-containers.md").read_text()
START, WALK, STOP = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)


def compose(command: str) -> str:
    """That command, where it is installed."""
    program, *words = command.split()
    found = shutil.which(program)
    if found and subprocess.run([found, *words, "version"], capture_output=True, check=False).returncode == 0:
        return command
    if "docker" in os.environ.get("NURTURE_REQUIRE", "").split():
        pytest.fail(f"compose is required here, and `{command}` is not installed")
    pytest.skip(f"`{command}` is not installed")


class Shell:
    """Runs lines of the page in a folder that looks like the checkout, under a project and on ports of its own."""

    def __init__(self, folder: Path, command: str) -> None:
        self.project = f"nurture-test-{secrets.token_hex(4)}"
        self.folder = folder
        self._compose = compose(command)
        ports = {"GATEWAY_PORT": str(free_port()), "SANDBOX_PORT": str(free_port())}
        self._environment = {**CLEAN, **definition.IMAGES, **ports, "COMPOSE_PROJECT_NAME": self.project}

    def run(self, script: str, seconds: float = 180) -> str:
        script = script.replace(".venv/bin/nurture", NURTURE).replace("docker compose", self._compose)
        done = subprocess.run(
            ["bash", "-ec", script], cwd=self.folder, env=self._environment, text=True, capture_output=True,
            timeout=seconds, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout


@pytest.fixture(params=["docker compose", "docker-compose"], ids=["v2", "v1"])
def shell(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shell]:
    """Of compose version 2, and of 1.29, which Debian 12 and Ubuntu 22.04 have."""
    client = engine()
    made = Shell(tmp_path, request.param)
    deploy = tmp_path / "deploy"
    deploy.mkdir()
    shutil.copy(ROOT / "deploy/compose.yaml", deploy)
    shutil.copytree(ROOT / "deploy/nats", deploy / "nats")
    try:
        yield made
    finally:
        remove(client, f"com.docker.compose.project={made.project}")
        client.close()


def _health(one: Container) -> str:
    one.reload()
    return one.attrs["State"]["Health"]["Status"]


def test_the_page_works_as_written_and_leaves_nothing(shell: Shell) -> None:
    client = engine()
    mine = {"label": f"com.docker.compose.project={shell.project}"}
    build, *start = START.splitlines()
    assert build == "deploy/images.sh"  # how `make containers` came to this test
    shell.run("\n".join(start))

    told = shell.run(WALK)
    began, effects = re.findall(r"started (\d+)", told)[0], re.findall(r"([\d,]+) effects", told)[-1]
    assert int(effects.replace(",", "")) >= int(began) > 0, "the record was not compared with what the provider took"
    assert "created 1000" in told and "✓ C1" in told and "✓ C2" in told and "✗" not in told
    containers = {one.labels["com.docker.compose.service"]: one for one in client.containers.list(filters=mine)}
    assert set(containers) == {*ROOMS, "postgres", "nats", "sandbox"}
    for name, one in containers.items():
        # One look in time may be late on a busy machine; three are asked for.
        eventually(lambda one=one: _health(one) == "healthy", what=f"a healthy {name}")
        assert one.attrs["HostConfig"]["ReadonlyRootfs"] and one.attrs["Config"]["User"] not in ("", "0", "root"), name
    assert "Violation" not in containers["nats"].logs().decode()
    values = compose_env.read((shell.folder / "deploy/.env").read_text())
    spoken = "".join(one.logs().decode() for one in containers.values())
    for name, value in values.items():
        if re.search(r"PASSWORD|KEY|TOKEN|SECRET", name) and value:
            assert value not in spoken, f"{name} is in a log"

    backup = 'docker compose -f deploy/compose.yaml run --rm --volume "$PWD:/out" --user "$(id -u)" nurture db backup /out/b.zip'
    shell.run(backup)
    assert (shell.folder / "b.zip").stat().st_size > 10_000

    shell.run(STOP)
    assert not client.containers.list(all=True, filters=mine)
    # compose 1.29 also makes the volumes of profiles that are not asked for.
    kept = {one.attrs["Labels"]["com.docker.compose.volume"] for one in client.volumes.list(filters=mine)}
    assert kept >= {"postgres", "nats", "sandbox"}, "what was written is kept"
    shell.run("docker compose -f deploy/compose.yaml --profile sandbox down --volumes")
    assert not client.volumes.list(filters=mine) and not client.networks.list(filters=mine)
    client.close()
