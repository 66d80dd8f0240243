"""Rows that tests of the default run show already: they are run again by their names, and counted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.faults.outcome import Outcome

ROOT = Path(__file__).resolve().parents[2]


def passed(names: tuple[str, ...], folder: Path) -> tuple[int, int, str]:
    """How many of the tests *names* passed and how many did not, and what pytest said at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", f"--basetemp={folder}/t"]
    done = subprocess.run(
        [*words, *names], cwd=ROOT, capture_output=True, text=True, check=False, errors="replace",
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    lines = done.stdout.strip().splitlines() or [done.stderr[-300:]]
    last = lines[-1]
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error|errors|skipped)", last)}
    good = counts.pop("passed", 0)
    named = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    return good, sum(counts.values()) + (done.returncode != 0 and not counts), "; ".join([*named, last])


def suite(*names: str, figure: str, each: int = 1) -> Callable[[Path, int], Outcome]:
    """A row that runs the tests *names* as often as asked for; *each* of them is so many runs of the fault."""

    def run(folder: Path, times: int) -> Outcome:
        good = bad = 0
        said = ""
        for number in range(times):
            more, wrong, said = passed(names, folder / str(number))
            good, bad = good + more, bad + wrong
        return Outcome(
            good * each, f"{figure}; {good} tests passed, {bad} did not" + (f" ({said})" * bool(bad)), not bad
        )

    return run


BUS, MODBUS, REGISTERS = "tests/drivers/test_bus.py", "tests/drivers/test_modbus.py", "tests/drivers/test_registers.py"
DIALOGUES, COMMANDS = "tests/uplink/test_dialogues.py", "tests/station/test_commands.py"

foreign_replies = suite(
    f"{BUS}::test_a_sound_frame_that_answers_something_else_is_dropped_and_the_wait_goes_on",
    f"{BUS}::test_a_reply_of_another_unit_alone_is_a_bad_reply",
    f"{BUS}::test_an_echo_of_the_request_is_dropped",
    f"{BUS}::test_an_echo_of_a_request_for_one_register_is_told_from_its_reply",
    f"{BUS}::test_an_echo_is_dropped_even_when_the_adapter_lost_a_byte_of_it",
    f"{BUS}::test_a_reply_glued_to_the_next_frame_is_taken_and_the_rest_dropped",
    f"{BUS}::test_a_reply_to_another_master_is_waited_for_and_never_taken",
    f"{BUS}::test_another_masters_request_in_our_wait_makes_the_next_reply_nobodys",
    "tests/drivers/test_emulator.py::test_an_adapter_that_hears_itself_does_no_harm",
    figure="another unit, another function, an echo, another master: none taken, the right reply still is",
)
exceptions = suite(
    f"{BUS}::test_every_exception_is_counted_by_its_code_and_leaves_the_line_at_work",
    f"{MODBUS}::test_an_exception_to_one_request_does_not_stop_the_others",
    "tests/station/test_engine.py::test_an_instrument_that_answers_exceptions_keeps_its_cadence",
    "tests/station/test_engine.py::test_a_parameter_whose_registers_fail_is_marked_although_the_rest_answers",
    figure="exceptions 01 to 0B and any other: counted by code, the others read on",
)
stuck_line = suite(
    f"{BUS}::test_a_line_that_is_stuck_is_opened_again_and_costs_little_time_of_the_processor",
    f"{BUS}::test_a_line_that_never_falls_silent_is_given_up",
    "tests/drivers/test_emulator.py::test_a_flooded_line_is_given_up_and_works_when_the_flood_ends",
    figure="a line without silence is given up, opened again and read again",
)
values = suite(
    f"{REGISTERS}::test_nan_and_infinity_without_a_sentinel_are_not_a_number",
    f"{REGISTERS}::test_whatever_bytes_come_no_value_outside_its_range_is_unmarked",
    f"{REGISTERS}::test_a_value_above_its_range_is_marked_t_and_kept",
    f"{REGISTERS}::test_a_value_below_its_range_is_marked_d_and_kept",
    f"{REGISTERS}::test_a_sentinel_is_no_value",
    f"{REGISTERS}::test_the_four_byte_orders_of_17_625",
    f"{REGISTERS}::test_a_value_too_large_to_be_a_number_is_none",
    "tests/station/test_suspicion.py::test_a_stuck_value_is_suspect_after_an_hour",
    figure="NaN, Inf, sentinels, both ends of a range, four byte orders, a value that stands still: 100 % flagged",
)
set_time = suite(
    "tests/station/test_clockhelper.py::test_a_clock_that_is_trusted_moves_ten_minutes_at_most",
    "tests/station/test_clockhelper.py::test_a_time_server_is_not_overruled_and_not_disturbed",
    "tests/station/test_clockhelper.py::test_no_time_from_before_this_station_or_after_this_century",
    f"{COMMANDS}::test_without_a_clock_helper_the_clock_is_not_set",
    f"{COMMANDS}::test_the_clock_is_set_once_an_hour_and_calibrated_twice_a_day",
    "tests/station/test_clockhelper.py::test_valid_absurd_and_replayed_times_move_the_clock_once",
    figure="from the platform's frame to the helper's clock: moved by a refused one 0 times",
)
replays = suite(
    f"{COMMANDS}::test_ten_thousand_replays_of_recorded_commands_carry_out_none",
    figure="recorded as they were obeyed, played back at once, later and after a restart: accepted 0",
    each=10_000,
)
guesses = suite(
    f"{DIALOGUES}::test_three_wrong_passwords_silence_commands_for_ten_minutes_and_no_upload",
    f"{DIALOGUES}::test_a_flood_of_different_rubbish_makes_few_events",
    f"{DIALOGUES}::test_each_fault_of_a_request_has_its_code",
    "tests/uplink/test_link.py::test_secrets_compare_by_every_character",
    figure="three wrong passwords are ten minutes of silence: 0.3 tries a minute; uploads go on",
)
allow_list_all = suite(
    "tests/station/test_allow_list.py",
    f"{COMMANDS}::test_a_platform_may_only_read_until_it_is_allowed_more",
    f"{COMMANDS}::test_a_value_outside_its_limits_is_refused",
    figure="every CN from 0000 to 9999 in three generations with parameters by chance: 0 beyond the list",
)
old_files = suite(
    "tests/station/test_store.py::test_a_newer_file_is_refused_and_left_alone",
    "tests/station/test_store.py::test_an_older_file_names_the_command_that_brings_it_up",
    figure="refused in words",
)


def allow_list(folder: Path, times: int) -> Outcome:
    """Row 44: quickly, one group of commands and none at all; else all of them."""
    if times > 1:
        return allow_list_all(folder, 1)
    name = "tests/station/test_allow_list.py::test_nothing_outside_the_allow_list_is_executed"
    return suite(f"{name}[]", f"{name}[set_clock]", figure="no command allowed, and one group: 0 beyond it")(folder, 1)
