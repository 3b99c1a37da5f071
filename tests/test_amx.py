"""bfloat16: AMX is tried in a process of its own where the processor announces it; what was proven is kept."""

from __future__ import annotations

import subprocess
from importlib import metadata

import pytest

from semscale import cli_runs
from semscale.encoders import machine

ILLEGAL_INSTRUCTION = "import os; os.kill(os.getpid(), 4)"
CORE = "processor : 0\nmodel name : Some\ncpu MHz : {mhz}\nflags : fpu amx_bf16 amx_tile{flag}\n"


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """A machine that announces AMX, on which nothing was tried yet."""
    monkeypatch.setenv("SEMSCALE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "BOOT_ID", tmp_path / "boot_id")
    monkeypatch.setattr(metadata, "version", {machine.LIBRARY: "1.0"}.__getitem__)
    (tmp_path / "boot_id").write_text("first\n")
    core(tmp_path)
    machine.amx.cache_clear()
    yield
    machine.amx.cache_clear()


def core(folder, *, mhz="2000.1", flag=""):
    """A processor of two equal cores but for what changes all the time."""
    block = CORE.format(mhz=mhz, flag=flag)
    (folder / "cpuinfo").write_text(f"{block}\n{block.replace('processor : 0', 'processor : 1')}\n")


def in_another_process(monkeypatch, *, trial):
    """What a later run says, in which a trial, if there is one, ends so."""
    machine.amx.cache_clear()
    monkeypatch.setattr(machine.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], trial))
    return machine.amx()


@pytest.mark.parametrize(
    ("trial", "state"), [("pass", "works"), (ILLEGAL_INSTRUCTION, "broken"), ("assert False", "broken")]
)
def test_it_is_tried_where_it_is_announced(monkeypatch, trial, state):
    monkeypatch.setattr(machine, "TRIAL", trial)
    assert machine.amx() == state


def test_it_is_not_tried_where_it_is_not(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "TRIAL", "assert False")
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "absent")
    assert machine.amx() == "absent"


@pytest.mark.parametrize(("trial", "state"), [("pass", "works"), (ILLEGAL_INSTRUCTION, "broken")])
def test_what_was_proven_is_not_tried_again(monkeypatch, tmp_path, trial, state):
    monkeypatch.setattr(machine, "TRIAL", trial)
    assert machine.amx() == state
    core(tmp_path, mhz="3100.7")
    machine.amx.cache_clear()
    monkeypatch.setattr(machine.subprocess, "run", None)
    assert machine.amx() == state


@pytest.mark.parametrize("status", [1, -2, -9])
def test_a_trial_that_ended_otherwise_proves_nothing(monkeypatch, status):
    assert in_another_process(monkeypatch, trial=status) == "broken"
    assert in_another_process(monkeypatch, trial=0) == "works"


def another_version(monkeypatch, tmp_path):
    monkeypatch.setattr(metadata, "version", {machine.LIBRARY: "1.1"}.__getitem__)


def another_processor(monkeypatch, tmp_path):
    core(tmp_path, flag=" hypervisor")


def another_start(monkeypatch, tmp_path):
    (tmp_path / "boot_id").write_text("second\n")


def another_trial(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "TRIAL", "another")


def other_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")


def damaged(monkeypatch, tmp_path):
    (tmp_path / "cache" / machine.RECORD).write_bytes(b'{"key": \xff')


def of_another_kind(monkeypatch, tmp_path):
    (tmp_path / "cache" / machine.RECORD).write_text("[]")


@pytest.mark.parametrize(
    "change",
    [another_version, another_processor, another_start, another_trial, other_settings, damaged, of_another_kind],
)
def test_it_is_tried_again_after(change, monkeypatch, tmp_path):
    assert in_another_process(monkeypatch, trial=-4) == "broken"
    assert in_another_process(monkeypatch, trial=0) == "broken"
    change(monkeypatch, tmp_path)
    assert in_another_process(monkeypatch, trial=0) == "works"
    assert in_another_process(monkeypatch, trial=-4) == "works"


def test_a_record_of_an_outcome_that_there_is_not_is_no_outcome(monkeypatch, tmp_path):
    assert in_another_process(monkeypatch, trial=-4) == "broken"
    record = tmp_path / "cache" / machine.RECORD
    record.write_text(record.read_text().replace("broken", "absent"))
    assert in_another_process(monkeypatch, trial=0) == "works"


def no_boot_id(monkeypatch, tmp_path):
    (tmp_path / "boot_id").unlink()


def no_version(monkeypatch, tmp_path):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)


def cache_that_is_a_file(monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("")


def no_home(monkeypatch, tmp_path):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(machine, "cache_folder", homeless)


@pytest.mark.parametrize("change", [no_boot_id, no_version, cache_that_is_a_file, no_home])
def test_every_run_tries_where_nothing_can_be_kept(change, monkeypatch, tmp_path):
    change(monkeypatch, tmp_path)
    assert in_another_process(monkeypatch, trial=-4) == "broken"
    assert in_another_process(monkeypatch, trial=0) == "works"


@pytest.mark.parametrize(("backend", "installed", "begun"), [("auto", True, 1), ("auto", False, 0), ("onnx", True, 0)])
def test_a_run_begins_the_trial_early_where_its_outcome_will_be_asked_for(monkeypatch, backend, installed, begun):
    tried = []
    monkeypatch.setattr(cli_runs, "bf16", lambda: tried.append("bf16"))
    monkeypatch.setattr(cli_runs, "find_spec", {machine.LIBRARY: installed or None}.get)
    monkeypatch.setattr(cli_runs.threading.Thread, "start", cli_runs.threading.Thread.run)
    cli_runs.begin_trials(backend)
    assert len(tried) == begun


def processor(folder, *words):
    (folder / "cpuinfo").write_text(f"vendor_id : {words[0]}\nflags : fpu {' '.join(words[1:])}\n")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["AuthenticAMD", "avx512_bf16"], "avx512"),
        (["GenuineIntel", "avx512_bf16"], "absent"),
        (["AuthenticAMD", "avx2"], "absent"),
        (["GenuineIntel", "avx512_bf16", "amx_bf16"], "amx"),
        (["AuthenticAMD", "avx512_bf16", "amx_bf16"], "amx"),
    ],
)
def test_bfloat16_without_amx_is_for_amds_processors(monkeypatch, tmp_path, words, found):
    monkeypatch.setattr(machine, "TRIAL", "pass")
    processor(tmp_path, *words)
    assert machine.bf16() == found


def test_bfloat16_is_broken_where_amx_is(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "TRIAL", ILLEGAL_INSTRUCTION)
    processor(tmp_path, "AuthenticAMD", "avx512_bf16", "amx_bf16")
    assert machine.bf16() == "broken"


def test_a_machine_that_tells_nothing_has_none(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "absent")
    assert machine.bf16() == "absent"
