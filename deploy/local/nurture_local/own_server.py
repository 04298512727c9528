"""The database of an instance that does not run: its server is started for as long as it is needed, and nothing else."""

import contextlib
from collections.abc import Iterator

from nurture_local import plan, postgres, servers
from nurture_local.configuration import Configuration
from nurture_local.instance import DataDir, DataDirRefused
from nurture_local.ports import remembered_port


@contextlib.contextmanager
def awake(data: DataDir, configuration: Configuration, *, make: bool = False) -> Iterator[str]:
    """The administrator's address of the embedded database. With `make`, an instance that is not there yet is begun.

    Raises DataDirRefused, plan.Refused, servers.NeverReady and what preparing a cluster raises.
    """
    if make:
        data.create()
    if not data.path.is_dir() or not data.lock():
        raise DataDirRefused(f"an instance is starting in {data.path}" if data.path.is_dir() else "there is none")
    try:
        state = data.state()
        if data.leftovers():
            raise DataDirRefused(
                f"processes of a run that was killed are left in {data.path}: `nurture down` ends them"
            )
        secrets = data.secrets()
        state.ports["postgres"] = remembered_port(state.ports.get("postgres"), set())
        home, url = plan.database(data, state, secrets, configuration)
        assert home is not None
        data.write(state)
        with servers.running(postgres.spec(home, state.ports["postgres"]), data.logs / "postgres.log"):
            yield url
    finally:
        data.unlock()
