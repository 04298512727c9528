"""What an instance remembers: secrets, pids that still mean the same process, ports, business time."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nurture_local import business_clock, ports, processes
from nurture_local.instance import ClockOrigin, DataDir, DataDirRefused, State
from nurture_local.processes import Recorded, alive, record


def test_secrets_are_made_once_and_are_nobody_elses(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data")
    data.create()
    first = data.secrets()
    assert first.webhook_secret.startswith("whsec_")
    assert len({first.secret_key, first.admin_api_key, first.webhook_secret, first.sandbox_api_key}) == 4
    assert DataDir(tmp_path / "data").secrets() == first
    assert stat.S_IMODE((data.path / "secrets.json").stat().st_mode) == 0o600
    data.write(State(gateway="http://127.0.0.1:1"))
    assert stat.S_IMODE((data.path / "instance.json").stat().st_mode) == 0o600


def test_a_recorded_pid_means_only_the_process_that_had_it() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        recorded = record(process.pid)
        assert alive(recorded)
        assert not alive(Recorded(process.pid, "another start"))
    finally:
        process.communicate(b"\n", timeout=10)
    assert not alive(recorded)
    assert not alive(None)


def test_a_stale_pid_file_is_no_running_instance(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    mine = record(os.getpid())
    assert mine is not None
    data.write(State(pid=mine))
    assert data.running()
    data.write(State(pid=Recorded(mine.pid, "long ago"), children={"email": mine, "nats": Recorded(mine.pid, "ago")}))
    assert data.running() is None
    assert data.leftovers() == {"email": mine}


def test_ending_a_leftover(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    recorded = record(process.pid)
    assert recorded is not None
    processes.end(recorded, 15, 10)
    assert process.wait(10) == -15
    process.communicate()


def test_one_supervisor_per_folder(tmp_path: Path) -> None:
    first, second = DataDir(tmp_path), DataDir(tmp_path)
    assert first.lock()
    assert not second.lock()
    first.unlock()
    assert second.lock()
    second.unlock()


def test_fresh_wipes_only_what_is_ours_and_stopped(tmp_path: Path) -> None:
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "cat.jpg").touch()
    with pytest.raises(DataDirRefused, match=r"instance\.json"):
        DataDir(foreign).wipe()
    assert (foreign / "cat.jpg").exists()
    DataDir(tmp_path / "absent").wipe()
    data = DataDir(tmp_path / "data")
    data.create()
    data.write(State(pid=record(os.getpid())))
    with pytest.raises(DataDirRefused, match="stop it"):
        data.wipe()
    outside = tmp_path / "cluster"
    outside.mkdir()
    data.write(State(postgres_home=str(outside)))
    data.wipe()
    assert not data.path.exists() and not outside.exists()


def test_a_broken_state_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "instance.json").write_text("{not json")
    with pytest.raises(DataDirRefused, match=r"instance\.json"):
        DataDir(tmp_path).running()


def test_a_long_path_puts_the_socket_elsewhere(tmp_path: Path) -> None:
    short, long = DataDir("/tmp/x").socket_path(), DataDir(tmp_path / ("d" * 120)).socket_path()
    assert short == Path("/tmp/x/control.sock").resolve()
    assert len(str(long)) < 104
    assert stat.S_IMODE(long.parent.stat().st_mode) == 0o700
    long.parent.rmdir()


def test_a_port_that_was_asked_for_must_be_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        assert not ports.is_free(number)
        with pytest.raises(ports.PortTaken, match=str(number)):
            ports.gateway_port(number, None)
        assert ports.gateway_port(None, number) != number
        assert ports.remembered_port(number, set()) != number


def test_ports_of_the_last_run_are_used_again() -> None:
    last = ports.free_port()
    taken: set[int] = set()
    assert ports.remembered_port(last, taken) == last
    assert ports.remembered_port(last, taken) != last
    assert ports.gateway_port(None, last) == last


NOW = 1_700_000_000.0
real = st.floats(NOW, NOW + 1e6)
speeds = st.one_of(st.just(1.0), st.floats(0.1, 5000))


@given(began=real, ran=st.floats(0, 1e5), away=st.floats(0, 1e6), first=speeds, second=speeds, clean=st.booleans())
def test_business_time_never_goes_back(
    began: float, ran: float, away: float, first: float, second: float, clean: bool
) -> None:
    origin = business_clock.resume(None, None, first, began)
    stopped = began + ran
    reached = business_clock.at(origin, stopped) if origin else stopped
    again = stopped + away
    resumed = business_clock.resume(origin, stopped if clean else None, second, again)
    now = business_clock.at(resumed, again) if resumed else again
    assert now >= reached - 1e-3
    assert now >= again - 1e-3


def test_business_time_stands_still_while_nothing_runs() -> None:
    origin = ClockOrigin(1440, NOW, NOW)
    resumed = business_clock.resume(origin, NOW + 60, 1440, NOW + 3660)
    assert resumed == ClockOrigin(1440, NOW + 3660, NOW + 86_400)
    assert business_clock.setting(resumed) == f"1440@{NOW + 3660!r}@{NOW + 86_400!r}"


def test_without_speed_business_time_is_real_time() -> None:
    assert business_clock.resume(None, None, 1, NOW) is None
    assert business_clock.setting(None) is None
