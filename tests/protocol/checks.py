"""What must hold when a schedule is quiet: nobody waits in vain, and all is accounted for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dora_rt.node_config import QueuePolicy
from dora_rt.transport.primitives import object_names
from tests.protocol.accounts import RUN, Life
from tests.protocol.scheduler import ViolationError

if TYPE_CHECKING:
    from tests.protocol.schedule import Node, Schedule

_EDGE = re.compile(rf"/drt-{RUN}-e(\d+)\.(\d+)")
_OUTPUT = re.compile(rf"/drt-{RUN}-o(\d+)\.(\d+)")


class Checks:
    """The last checks of one schedule."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._accounts = schedule.accounts
        self._memory = schedule.memory
        self._scheduler = schedule.scheduler

    def run(self) -> None:
        """Check everything.

        Raises:
            ViolationError: something is not as promised.
        """
        schedule = self._schedule
        self._scheduler.interrupter.stop()
        self._memory.settle()
        for node in schedule.nodes.values():
            node.process.befalls.clear()
            node.process.posts_to_live = 0
        self._check_writer()
        if self._scheduler.interrupts:
            # What an exception has broken off is brought to an end by the next look.
            for number in schedule.nodes:
                self._memory.semaphores[object_names.doorbell(RUN, number)].change(1, None)
            self._scheduler.run()
        if not schedule.flow.has_answers and (
            self._scheduler.kills
            or self._scheduler.interrupts
            or schedule.ever_closed
            or schedule.late
        ):
            # A node that only sends sees its readers when it sends.
            closed = -1
            while closed < len(schedule.ever_closed):
                closed = len(schedule.ever_closed)
                schedule.more.count += 1
                self._scheduler.run()
                self._check_writer()
        self._check_sleepers()
        self._check_newest()
        self._let_go_of_all()
        self._check_slots()
        self._check_accounts()
        self._check_objects()

    def _check_writer(self) -> None:
        node = self._schedule.nodes[0]
        if node.sent < node.to_send or any(
            thread.process is node.process and thread.blocked_on is None
            for thread in self._scheduler.threads
        ):
            raise ViolationError(f"the writer sleeps after {node.sent} of {node.to_send} sends")
        for thread in self._scheduler.threads:
            if thread.process is not node.process:
                continue
            name = getattr(thread.blocked_on, "name", "")
            if name.endswith("r"):
                raise ViolationError(f"the writer waits for room ({name}), and its readers sleep")

    def _check_sleepers(self) -> None:
        schedule = self._schedule
        for edge in self._accounts.edges:
            node = schedule.nodes[edge.reader]
            if node.has_closed_input or node.has_finished:
                continue
            if schedule.nodes[edge.writer].has_closed_input:
                continue  # it does not listen any more, and sends nothing
            waiting = self._accounts.waiting(edge.number)
            if waiting:
                raise ViolationError(
                    f"{node.process.name} sleeps while {waiting} samples wait for it on edge "
                    f"{edge.number} ({edge.queue_policy.value}, {edge.queue_size})"
                )

    def _check_newest(self) -> None:
        """Check that each reader of a latched output has had its newest sample."""
        schedule = self._schedule
        if not schedule.flow.is_latched:
            return
        for edge in schedule.plan.outputs[0].edges:
            node = schedule.nodes[edge.reader]
            if node.has_closed_input or node.life.was_interrupted:
                continue
            newest = self._accounts.newest(0)
            last = node.life.last.get(edge.number)
            if newest is not None and (last is None or last[0] != newest):
                raise ViolationError(f"{node.process.name} had {last} last, and {newest} is newest")

    def _let_go_of_all(self) -> None:
        scheduler = self._scheduler
        for node in self._schedule.nodes.values():
            if not node.held:
                continue
            scheduler.process = node.process
            scheduler.left = 1 << 60
            while node.held:
                self._schedule._let_go(node)
            scheduler.process = None
        scheduler.run()

    def _check_slots(self) -> None:
        schedule = self._schedule
        for output in schedule.plan.outputs:
            node = schedule.nodes[output.edges[0].writer]
            if node.has_finished or node.ends is None:
                continue
            if schedule.flow.has_answers and schedule.ever_closed:
                continue  # it hears of a closed input when it sends next
            free = node.ends.free_slots()
            kept = self._accounts.slot_of_newest(output.number) if output.latched else None
            if sorted(free) != [slot for slot in range(output.slots) if slot != kept]:
                raise ViolationError(
                    f"slots of output {output.number}: {sorted(free)} are free of {output.slots}"
                )

    def _check_accounts(self) -> None:
        schedule, accounts = self._schedule, self._accounts
        for edge in accounts.edges:
            if not (schedule.ever_closed | schedule.late).isdisjoint((edge.reader, edge.writer)):
                continue  # what was sent meanwhile was not meant for it
            output = next(it for it in schedule.plan.outputs if edge in it.edges)
            counted = schedule.run_memory.counters(output, edge)
            assert counted is not None, "nobody has removed what counts"
            gap = counted.sent - counted.delivered - counted.dropped
            lost = accounts.lost[edge.number]
            exact = not accounts.has_lost_writer
            where = f"edge {edge.number} ({edge.queue_policy.value}, {edge.queue_size})"
            if not 0 <= gap <= lost or (exact and gap != lost):
                raise ViolationError(
                    f"accounts: {where} sent {counted.sent}, delivered {counted.delivered}, "
                    f"dropped {counted.dropped}; {lost} were in dead hands"
                )
            if edge.queue_policy is QueuePolicy.BLOCK and counted.dropped:
                raise ViolationError(f"{where} dropped {counted.dropped}")
            for life in accounts.all_lives:
                if life.process.is_alive and accounts.in_hands(life, edge.number):
                    raise ViolationError(
                        f"{where}: {life.process.name} claimed what it never counted"
                    )

    def _check_objects(self) -> None:
        schedule, memory = self._schedule, self._memory
        if not self._scheduler.kills:
            return
        scheduler = self._scheduler
        schedule.run_memory.remove_outdated()
        edges, outputs = self._present()
        for name in [*memory.segments, *memory.semaphores]:
            if self._is_old(name, edges, outputs) and not self._is_late_token(name):
                raise ViolationError(f"{name} of an earlier generation is left behind")
        if not schedule.kind.checks_handles or scheduler.interrupts:
            return  # an exception may come before it is noted that something is open
        for process, handles in memory.handles.items():
            if process is None or schedule.has_closed(process):
                continue  # it still gives back what it holds
            for handle in handles.values():
                if self._is_old(handle.name, edges, outputs):
                    raise ViolationError(f"{process.name} still has {handle.name} open")

    def _is_late_token(self, name: str) -> bool:
        """Tell whether a writer made a token after the objects of its edge were removed.

        It had not looked yet; the next removal takes it away.
        """
        count = self._memory.semaphores.get(name)
        found = _EDGE.match(name)
        if count is None or found is None or not count.token:
            return False
        return count.born >= self._accounts.removed.get(int(found[1]), 0)

    def _present(self) -> tuple[dict[int, int], dict[int, int]]:
        edges, outputs = {}, {}
        for output in self._schedule.plan.outputs:
            present = self._schedule.run_memory.present(output.number)
            outputs[output.number] = present.generation
            for edge in present.edges:
                edges[edge.number] = edge.generation
        return edges, outputs

    @staticmethod
    def _is_old(name: str, edges: dict[int, int], outputs: dict[int, int]) -> bool:
        if (found := _EDGE.match(name)) is not None:
            return int(found[2]) < edges[int(found[1])]
        if (found := _OUTPUT.match(name)) is not None:
            return int(found[2]) < outputs[int(found[1])]
        return False


__all__ = ["Checks", "Life", "Node"]
