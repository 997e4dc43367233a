"""The session of zenoh between gateways: the only place that knows zenoh."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import zenoh

from dora_rt.errors import LaunchError
from dora_rt.network.gateway_plan import GatewayPlan, Stream
from dora_rt.network.key_space import KeySpace, name_in
from dora_rt.network.listening import find_listen_obstacle
from dora_rt.network.probe import trouble_with
from dora_rt.network.refusals import Refusals
from dora_rt.network.session_config import (
    endpoints_of,
    names_known_to,
    session_config,
)
from dora_rt.network.zenoh_session import open_session, tell_refusals, watch_links

_CONTROL = "control"
_PROBE_S = 2.0
_LISTEN_AGAIN_S = 1.0
# A message beside the samples: the status of a run is the longest.
_MOST_CONTROL_NBYTES = 16 << 20


class Payload(Protocol):
    """Bytes that are still in the hands of zenoh."""

    def __len__(self) -> int: ...

    def to_bytes(self) -> bytes:
        """Copy them."""
        ...


class Hearer(Protocol):
    """Takes in what comes over the link, in threads of zenoh: it returns at once."""

    def hear_alive(self, machine: str, life: str, *, is_alive: bool) -> None:
        """Note that a gateway has come or gone."""

    def hear_message(self, machine: str, told: Mapping[str, Any], received_ns: int) -> None:
        """Take a message of another gateway."""

    def hear_ack(self, stream: int, payload: bytes) -> None:
        """Take an acknowledgement of a stream that leaves."""

    def hear_sample(self, stream: int, attachment: bytes, payload: Payload) -> None:
        """Take a head of a stream that comes in, and the value behind it."""

    def hear_garbage(self, what: str) -> None:
        """Note that something came that no gateway sends."""


class SamplePort:
    """Where the samples of one stream are put; small ones overtake those of other streams."""

    def __init__(self, session: zenoh.Session, key: str) -> None:
        self._publishers = {
            is_small: session.declare_publisher(
                key,
                congestion_control=zenoh.CongestionControl.BLOCK,
                priority=(zenoh.Priority.INTERACTIVE_HIGH if is_small else zenoh.Priority.DATA_LOW),
                express=is_small,
            )
            for is_small in (False, True)
        }

    def put(self, payload: bytes, attachment: bytes, *, is_small: bool) -> None:
        """Put a sample; returns when the link has room for it."""
        with _closing_is_no_error():
            self._publishers[is_small].put(payload, attachment=attachment)


class Link:
    """What this gateway says to the others, and hears of them. It opens in a thread."""

    def __init__(self, plan: GatewayPlan, life: int, hearer: Hearer) -> None:
        """Prepare; `start` opens.

        Args:
            plan: of this gateway.
            life: of it; the others see it in its liveliness.
            hearer: what takes in all that comes.
        """
        self._plan = plan
        self._keys = KeySpace.of(plan)
        self._life = f"{life:016x}"
        self._hearer = hearer
        self._session: zenoh.Session | None = None
        self._acks: dict[int, zenoh.Publisher] = {}
        self._messages: dict[str, zenoh.Publisher] = {}
        self._kept: list[Any] = []
        listened = next(one.listen for one in plan.machines if one.name == plan.machine)
        self._refusals = Refusals(
            tell=_tell,
            ports=() if plan.via else tuple(int(one.rpartition(":")[2]) for one in listened),
            names=names_known_to(plan) if plan.security.certificate else (),
        )
        self.samples: dict[int, SamplePort] = {}
        """By the numbers of the streams that leave."""
        self.error: LaunchError | None = None

    def start(self, when_open: Callable[[], None]) -> None:
        """Open the session in a thread: it takes as long as no router answers.

        Args:
            when_open: is called in that thread, when the link is open or `error` says why not.
        """
        threading.Thread(target=self._open, args=(when_open,), daemon=True).start()

    def tell_refusals(self) -> None:
        """Have what zenoh refuses in this process told; once, and before `start`."""
        tell_refusals(self._refusals)

    @property
    def is_open(self) -> bool:
        """Whether something can be said."""
        return bool(self._messages)

    def tell(self, machine: str, message: Mapping[str, Any]) -> None:
        """Send a message to another gateway; one that is not there does not get it."""
        publisher = self._messages.get(machine)
        if publisher is not None:
            with _closing_is_no_error():
                publisher.put(json.dumps(message, separators=(",", ":")).encode())

    def acknowledge(self, stream: int, payload: bytes) -> None:
        """Tell the sender of a stream what has come of it."""
        with _closing_is_no_error():
            self._acks[stream].put(payload)

    def close(self) -> None:
        """Say goodbye; what was put before is sent."""
        session, self._session = self._session, None
        if session is not None:
            self._messages.clear()
            session.close()

    def _open(self, when_open: Callable[[], None]) -> None:
        is_open = threading.Event()
        try:
            self._wait_until_it_can_listen()
            first = self._find_router(is_open)
            session = open_session(session_config(self._plan, first=first))
            is_open.set()
            self._declare(session)
        except LaunchError as error:
            self.error = error
        when_open()

    def _wait_until_it_can_listen(self) -> None:
        """Return when nothing is in the way; tell what is, once.

        A program that has the port may end, as an earlier launcher of this machine does, and an
        address may come with the network. zenoh itself does not try again.
        """
        listened, _ = endpoints_of(self._plan)
        told = set()
        for endpoint in listened:
            while (obstacle := find_listen_obstacle(endpoint)) is not None:
                # The program in the way is known at one look and maybe not at the next.
                if (endpoint, obstacle.way_out) not in told:
                    told.add((endpoint, obstacle.way_out))
                    why = f"{obstacle.why}; {obstacle.way_out}"
                    _tell(f"cannot listen at {endpoint} yet: {why}")
                time.sleep(_LISTEN_AGAIN_S)
        if told:
            _tell(f"listens at {', '.join(listened)} now")

    def _find_router(self, is_open: threading.Event) -> str | None:
        """Return which of several endpoints to dial; tell why none answers, until one does."""
        listened, dialled = endpoints_of(self._plan)
        if listened or not dialled:
            return None
        if len(dialled) > 1:
            # zenoh tries the first one for ever.
            while (found := next(filter(self._answers, dialled), None)) is None:
                time.sleep(_PROBE_S)
            return found

        def explain() -> None:
            while not is_open.wait(_PROBE_S):
                self._answers(dialled[0])

        threading.Thread(target=explain, name="probe", daemon=True).start()
        return None

    def _answers(self, endpoint: str) -> bool:
        security = self._plan.security
        names = names_known_to(self._plan) if security.certificate else ()
        trouble = trouble_with(endpoint, security, names)
        if trouble is not None:
            self._refusals.tell_once(f"{endpoint} cannot be reached yet: {trouble}")
        return trouble is None

    def _declare(self, session: zenoh.Session) -> None:
        self._session = session
        self._kept.append(watch_links(session, self._refusals))
        keys, plan, hearer = self._keys, self._plan, self._hearer
        leaving, coming = plan.own_streams()
        for stream in coming:
            self._acks[stream.number] = session.declare_publisher(
                keys.acknowledgement(stream), **_urgent()
            )
            self._keep(session, keys.sample(stream), self._on_sample(stream))
        for stream in leaving:
            self.samples[stream.number] = SamplePort(session, keys.sample(stream))
            self._keep(session, keys.acknowledgement(stream), self._on_ack(stream))
        others = [one.name for one in plan.machines if one.name != plan.machine]
        for name in others:
            self._keep(session, keys.message(name, plan.machine, _CONTROL), self._on_message(name))
        messages = {
            name: session.declare_publisher(keys.message(plan.machine, name, _CONTROL), **_urgent())
            for name in others
        }
        liveliness = session.liveliness()

        def on_alive(sample: zenoh.Sample) -> None:
            *_, machine, _alive, life = str(sample.key_expr).split("/")
            is_alive = sample.kind == zenoh.SampleKind.PUT
            hearer.hear_alive(name_in(machine), name_in(life), is_alive=is_alive)

        self._kept.append(liveliness.declare_subscriber(keys.all_alive(), on_alive, history=True))
        self._kept.append(liveliness.declare_token(keys.alive(plan.machine, self._life)))
        self._messages = messages

    def _keep(
        self, session: zenoh.Session, key: str, on_sample: Callable[[zenoh.Sample], None]
    ) -> None:
        self._kept.append(session.declare_subscriber(key, on_sample))

    def _on_sample(self, stream: Stream) -> Callable[[zenoh.Sample], None]:
        hear, number = self._hearer.hear_sample, stream.number

        def on_sample(sample: zenoh.Sample) -> None:
            attachment = sample.attachment
            hear(number, b"" if attachment is None else attachment.to_bytes(), sample.payload)

        return on_sample

    def _on_ack(self, stream: Stream) -> Callable[[zenoh.Sample], None]:
        hear, number = self._hearer.hear_ack, stream.number
        return lambda sample: hear(number, sample.payload.to_bytes())

    def _on_message(self, name: str) -> Callable[[zenoh.Sample], None]:
        hearer = self._hearer

        def on_message(sample: zenoh.Sample) -> None:
            received_ns = time.monotonic_ns()
            payload = sample.payload.to_bytes()
            try:
                if len(payload) > _MOST_CONTROL_NBYTES:
                    raise ValueError(f"{len(payload)} bytes")
                told = json.loads(payload)
                if not isinstance(told, dict):
                    raise TypeError(f"a JSON {type(told).__name__}")
            except (ValueError, TypeError, RecursionError) as error:
                hearer.hear_garbage(f"a message of machine {name!r} is none: {error}")
                return
            hearer.hear_message(name, told, received_ns)

        return on_message


def _tell(sentence: str) -> None:
    sys.stderr.write(f"dora_rt: {sentence}\n")


def _urgent() -> dict[str, Any]:
    return {
        "congestion_control": zenoh.CongestionControl.BLOCK,
        "priority": zenoh.Priority.REAL_TIME,
        "express": True,
    }


@contextlib.contextmanager
def _closing_is_no_error() -> Any:
    # A thread that still has something to say when the session is closed says it to nobody.
    try:
        yield
    except zenoh.ZError as error:
        if "closed" not in str(error).lower():
            raise
