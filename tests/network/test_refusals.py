"""Lines of zenoh's log become sentences for a person; test_security.py has the real ones."""

from __future__ import annotations

from dora_rt.network.refusals import Refusals, words_of

CACHED = (
    "2026-11-27T12:39:13.308503Z TRACE  rx-1 ThreadId({thread}) "
    "zenoh::net::routing::interceptor::access_control: Using cached result: "
    "abc1 is {verdict} to Put (ingress) on dora_rt/acme/r7/flow/robot/sample/laptop/0/camera/image"
)
CAUGHT = (
    "2026-11-27T12:39:13.308524Z TRACE  rx-1 ThreadId({thread}) "
    "zenoh::net::routing::interceptor: Msg intercepted!"
)
WARNED = (
    "\x1b[2m2026-11-27T12:34:25.364364Z\x1b[0m \x1b[33m WARN\x1b[0m acc-0 ThreadId(06) "
    "\x1b[2mzenoh_link_tls::unicast\x1b[0m\x1b[2m:\x1b[0m {text}. "
    "Hint: increase the system open file limit."
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def refusals(clock=None):
    told = []
    made = Refusals(told.append, names=("laptop", "robot"), clock=clock or Clock())
    made.link_opened("abc1", "laptop", "tls/10.0.0.7:5000")
    return made, told


def test_denied_sample_names_machine_and_output():
    made, told = refusals()

    made.take_line(CACHED.format(thread=15, verdict="unauthorized"))
    made.take_line(CAUGHT.format(thread=15))

    assert told == ["refused laptop, which may not send camera/image from robot to laptop"]


def test_what_might_be_denied_is_not_told():
    """zenoh says the same while it fills a cache with what a machine may do."""
    made, told = refusals()

    made.take_line(CACHED.format(thread=15, verdict="unauthorized"))
    made.take_line(CACHED.format(thread=15, verdict="authorized"))
    made.take_line(CAUGHT.format(thread=15))
    made.take_line(CACHED.format(thread=15, verdict="unauthorized"))
    made.take_line(CAUGHT.format(thread=16))

    assert told == []


def test_same_refusal_is_told_once_a_minute_with_their_number():
    clock = Clock()
    made, told = refusals(clock)
    line = WARNED.format(text="peer sent no certificates")

    for _ in range(5):
        made.take_line(line)
    clock.now = 61.0
    made.take_line(line)

    sentence = "refused a connection: it showed no certificate (`dora-rt pair` makes them)"
    assert told == [sentence, f"{sentence} (4 more times since)"]


def test_unknown_reason_is_told_in_words_of_zenoh():
    made, told = refusals()

    made.take_line(WARNED.format(text="received something new"))

    assert told == ["refused a connection: received something new"]


def test_lines_of_others_are_left_alone():
    made, told = refusals()

    assert not made.take_line("hello from a node")
    assert not made.take_line("")
    assert made.take_line(CACHED.format(thread=1, verdict="authorized"))
    assert told == []


def test_names_in_keys_come_back_as_they_are_in_the_file():
    key = "dora_rt/acme/r7/flow/ro=20bot/sample/laptop/0/node/out=2Fput"

    assert words_of(key) == "node/out/put from ro bot to laptop"
    assert words_of("other/key") == "other/key"
