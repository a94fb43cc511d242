from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from athanor.instruments.latch import SLOT, SLOTS, UNKNOWN, Latch, LatchError


@dataclass(frozen=True)
class Place:
    directory: Path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "flow")


def test_an_instrument_that_never_existed_is_not_engaged(place: Place) -> None:
    state = Latch(place).read()
    assert (state.engaged, state.count) == (False, 0)
    assert not place.directory.exists(), "reading leaves nothing behind"


def test_engage_and_reset_are_seen_by_everybody(place: Place) -> None:
    ours, theirs = Latch(place), Latch(place)
    ours.create()
    engaged = ours.engage("smell of solvent", "rivera")
    assert (engaged.engaged, engaged.count, engaged.saved) == (True, 1, True)
    assert theirs.read() == engaged
    released = theirs.reset("hood checked", "okafor")
    assert (released.engaged, released.count, released.by) == (False, 2, "okafor")
    assert ours.read() == released


def test_engaging_twice_keeps_the_first_reason_and_count(place: Place) -> None:
    latch = Latch(place)
    first = latch.engage("leak", "rivera")
    assert latch.engage("again", "okafor") == first
    assert latch.read().reason == "leak"


def test_a_decision_made_before_or_during_a_stop_outlives_neither_stop_nor_reset(place: Place) -> None:
    latch = Latch(place)
    counts = [latch.create().count, latch.engage("a", "b").count, latch.reset("c", "d").count]
    assert len(set(counts)) == 3


def test_reset_needs_a_reason(place: Place) -> None:
    latch = Latch(place)
    latch.engage("leak", "rivera")
    with pytest.raises(ValueError, match="reason"):
        latch.reset("  ", "rivera")
    assert latch.read().engaged


def test_the_file_keeps_its_size_and_its_blocks(place: Place) -> None:
    latch = Latch(place)
    latch.create()
    before = latch.path.stat()
    for number in range(5):
        latch.engage("x" * 1000 * number, "rivera")
        latch.reset("y" * 9000, "rivera")
    after = latch.path.stat()
    assert (after.st_size, after.st_ino, after.st_blocks) == (SLOT * SLOTS, before.st_ino, before.st_blocks)
    assert latch.path.stat().st_mode & 0o777 == 0o600


@given(reason=st.text(max_size=6000), by=st.text(max_size=40))
@settings(max_examples=40, deadline=None)
def test_any_reason_comes_back_or_is_cut_short(tmp_path_factory: pytest.TempPathFactory, reason: str, by: str) -> None:
    latch = Latch(Place(tmp_path_factory.mktemp("latch")))
    latch.engage(reason, by)
    state = Latch(Place(latch.path.parent)).read()
    assert state.engaged
    assert state.by == by
    assert reason.startswith(state.reason or "")
    assert len(reason) > 500 or state.reason == reason


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x01
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("slot", range(SLOTS))
@pytest.mark.parametrize("offset", [0, 30, 100, 140])
def test_any_changed_byte_reads_as_engaged(place: Place, slot: int, offset: int) -> None:
    latch = Latch(place)
    latch.engage("a", "b")
    released = latch.reset("c", "d")
    flip(latch.path, slot * SLOT + offset)
    state = Latch(place).read()
    assert state.engaged
    assert "corrupt" in (state.reason or "")
    repaired = latch.reset("inspected", "rivera")
    assert not Latch(place).read().engaged
    assert repaired.count > max(released.count, state.count) + 0, "nothing decided before may pass now"


def test_a_latch_that_lost_both_slots_is_engaged_and_its_reset_count_is_new(place: Place) -> None:
    latch = Latch(place)
    latch.create()
    latch.path.write_bytes(b"\0" * SLOT * SLOTS)
    assert (latch.read().engaged, latch.read().count) == (True, UNKNOWN)
    assert latch.engage("a", "b").engaged
    assert latch.reset("inspected", "rivera").count > 1_000_000
    assert not Latch(place).read().engaged


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 20_000])
def test_a_file_of_another_size_is_engaged(place: Place, content: bytes) -> None:
    latch = Latch(place)
    latch.create()
    latch.path.write_bytes(content)
    assert Latch(place).read().engaged
    latch.reset("inspected", "rivera")
    assert not Latch(place).read().engaged


def test_a_removed_latch_is_engaged_until_reset(place: Place) -> None:
    latch = Latch(place)
    latch.create()
    latch.path.unlink()
    state = Latch(place).read()
    assert state.engaged
    assert "removed" in (state.reason or "")
    assert latch.create().engaged, "starting a worker does not heal it"
    assert latch.engage("a", "b").engaged
    latch.path.unlink()
    assert not latch.reset("inspected", "rivera").engaged
    assert not Latch(place).read().engaged


def test_an_unreadable_latch_is_engaged(place: Place) -> None:
    latch = Latch(place)
    latch.create()
    latch.path.unlink()
    latch.path.mkdir()
    state = latch.read()
    assert state.engaged
    assert "cannot be read" in (state.reason or "")
    stopped = latch.engage("a", "b")
    assert (stopped.engaged, stopped.saved) == (True, False)
    with pytest.raises(LatchError, match="reset"):
        latch.reset("inspected", "rivera")


def test_without_a_disk_the_latch_holds_in_memory_until_a_later_reset(place: Place) -> None:
    latch = Latch(place)
    latch.create()
    aside = latch.path.rename(latch.path.with_name("aside"))
    latch.path.symlink_to("/dev/full")  # Every write fails.
    stopped = latch.engage("leak", "rivera")
    assert (stopped.engaged, stopped.saved) == (True, False)
    assert "cannot be written" in (stopped.detail or "")
    latch.path.unlink()
    aside.rename(latch.path)
    held = Latch(place)
    held.hold("leak", "rivera")
    assert held.read().engaged
    assert not Latch(place).read().engaged, "the file was never written"
    Latch(place).reset("looked at it", "okafor")
    assert not held.read().engaged, "a reset elsewhere releases what was held here"


def test_a_stop_during_a_fault_of_the_disk_outlives_the_fault(place: Place) -> None:
    """The file cannot be read when the stop comes, and later says that it was never engaged."""
    latch = Latch(place)
    latch.create()
    aside = latch.path.rename(latch.path.with_name("aside"))
    latch.path.mkdir()
    assert not latch.engage("leak", "rivera").saved
    latch.path.rmdir()
    aside.rename(latch.path)
    assert not Latch(place).read().engaged, "others do not know"
    assert latch.read().reason == "leak"
    saved = latch.engage("leak", "rivera")
    assert (saved.saved, Latch(place).read().engaged) == (True, True)
    Latch(place).reset("disk replaced", "okafor")
    assert not latch.read().engaged


def test_a_reset_after_a_fault_of_the_disk_releases_what_was_held(place: Place) -> None:
    latch = Latch(place)
    latch.create()
    latch.path.write_bytes(b"")
    latch.hold("leak", "rivera")
    until_another_millisecond()
    Latch(place).reset("disk replaced", "okafor")
    assert not latch.read().engaged


def until_another_millisecond() -> None:
    began = time.time()
    while time.time() < began + 0.002:
        pass


def test_hold_touches_no_file_and_engage_then_writes_it(place: Place) -> None:
    latch = Latch(place)
    latch.create()
    before = latch.path.read_bytes()
    held = latch.hold("leak", "rivera")
    assert (held.engaged, held.saved) == (True, False)
    assert latch.path.read_bytes() == before
    assert latch.read() == held
    saved = latch.engage("leak", "rivera")
    assert (saved.engaged, saved.saved, saved.count) == (True, True, held.count)
    assert latch.read() == saved


def test_a_full_disk_cannot_prevent_it(place: Place) -> None:
    Latch(place).create()
    code = (
        "import resource, sys, pathlib, types\n"
        "from athanor.instruments.latch import Latch\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "try:\n"
        "    (folder / 'spool').write_bytes(b'x' * 20000)\n"
        "except OSError: pass\n"
        "else: sys.exit('the limit did not hold')\n"
        "state = Latch(types.SimpleNamespace(directory=folder)).engage('full', 'test')\n"
        "sys.exit(0 if state.saved and state.engaged else repr(state))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(place.directory)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Latch(place).read().reason == "full"


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="needs to mount a file system")
def test_engages_on_a_file_system_without_a_free_block(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        latch = Latch(Place(folder / "flow"))
        latch.create()
        with pytest.raises(OSError, match="No space"), (folder / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * 4096)
        state = latch.engage("full", "test")
        assert (state.engaged, state.saved) == (True, True)
        late = Latch(Place(folder / "late"))
        (folder / "late").mkdir()
        unsaved = late.engage("full", "test")
        assert (unsaved.engaged, unsaved.saved) == (True, False), "no room to create one: held in memory"
        assert late.read().engaged
        assert not late.path.exists()
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_frozen_process_that_holds_the_lock_cannot_prevent_it(place: Place) -> None:
    Latch(place).create()
    code = (
        "import fcntl, sys, signal\n"
        "file = open(sys.argv[1])\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\n"
        "signal.pause()\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(Latch(place).path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        os.kill(holder.pid, signal.SIGSTOP)
        assert Latch(place).engage("frozen", "test").saved
        with pytest.raises(LatchError, match="held by another process"):
            Latch(place).reset("no", "test")
        assert Latch(place).read().engaged
    finally:
        holder.kill()
        holder.communicate()


def test_a_kill_in_the_middle_of_writing_never_reads_as_something_else(place: Place) -> None:
    """A process engages and resets without end and is killed: what it leaves is one of its states, or engaged."""
    code = (
        "import sys, pathlib, types\n"
        "from athanor.instruments.latch import Latch\n"
        "latch = Latch(types.SimpleNamespace(directory=pathlib.Path(sys.argv[1])))\n"
        "latch.create()\n"
        "while True:\n"
        "    print(latch.engage('on', 'child').count, flush=True)\n"
        "    print(latch.reset('off', 'child').count, flush=True)\n"
    )
    last = 0
    for _ in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(place.directory)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        for _ in range(20):
            last = int(child.stdout.readline())
        child.kill()
        rest = child.communicate()[0].split()
        last = int(rest[-1]) if rest else last
        state = Latch(place).read()
        assert state.count >= last, "no count is ever used twice"
        assert state.engaged or state.reason == "off"


def test_concurrent_engages_are_one_engagement(place: Place) -> None:
    Latch(place).create()
    states = []
    threads = [threading.Thread(target=lambda: states.append(Latch(place).engage("all", "x"))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {state.count for state in states} == {1}
    assert Latch(place).read().count == 1


def test_only_the_standard_library_is_imported() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "import athanor.instruments.latch\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - sys.stdlib_module_names <= {"athanor"}
