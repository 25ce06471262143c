"""Does the operations of :mod:`pybroker.control.operations` to the cluster that a host runs."""

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import trio
import trio.testing

from pybroker.control import operations as ops
from pybroker.control.operations import NoSuchThing, OperationFailed, TimedOut
from pybroker.control.reading import BadInput
from pybroker.coordination.group.calls import GroupDescription
from pybroker.coordination.group.consumer.calls import ConsumerGroupDescription
from pybroker.coordination.transaction.calls import InitCall, ListFilter, TransactionDescription
from pybroker.coordination.transaction.states import COMPLETE_ABORT
from pybroker.instruments.faults import ActiveRule, FaultRule, find_api, find_error
from pybroker.instruments.journal import Entry
from pybroker.instruments.plain import Plain
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.model.topics import TRANSACTION_STATE
from pybroker.testing.administration import LOOK_AGAIN_S, Administration
from pybroker.testing.host import Host
from pybroker.testing.plain_values import plain_value
from pybroker.testing.seeds import Seed, seed_of

T = TypeVar("T")

SETTLE_S = 30.0
"""The longest that an advance waits for what it set off."""


class HostControls:
    """One method for each operation; arguments and results as the table says."""

    def __init__(self, host: Host, seed: Seed) -> None:
        self._host = host
        self._seed = seed
        self._admin = Administration(host)
        self._turn = trio.Lock()

    async def __call__(self, operation: str, arguments: Any, /) -> Plain:
        """Carries out an operation of the table."""
        method: Callable[[Any], Awaitable[Plain]] = getattr(self, operation)
        return await method(arguments)

    # -- the cluster ---------------------------------------------------------------------------------

    async def plant(self) -> None:
        """Creates the seed state, in a cluster that has just begun."""
        await self._plant(self._seed)

    async def _plant(self, seed: Seed) -> None:
        await self._admin.plant(seed)
        for rule in seed.faults:
            self._host.faults.add(rule, self._host.brokers)

    async def reset(self, _: ops.Nothing) -> Plain:
        async with self._turn:
            await self._host.reset()
            await self._plant(self._seed)
        return None

    async def brokers(self, _: ops.Nothing) -> Plain:
        return [
            {"broker": hosted.broker_id, "address": hosted.address, "state": hosted.state.value}
            for hosted in self._host.brokers.values()
        ]

    async def seed(self, wanted: ops.PlantSeed) -> Plain:
        await self._plant(seed_of(dict(wanted.seed)))
        return None

    async def snapshot(self, wanted: ops.Snapshot) -> Plain:
        """The brokers are stopped in good order meanwhile, so that the copy is one moment's."""
        target = Path(wanted.folder)
        if target.exists() and any(target.iterdir()):
            raise OperationFailed(f"{target} is not empty; name an empty or a missing folder")
        async with self._turn:
            running = [
                hosted.broker_id for hosted in self._host.brokers.values() if hosted.broker is not None
            ]
            for broker_id in running:
                await self._host.stop(broker_id)
            source = self._host.folder
            await trio.to_thread.run_sync(lambda: shutil.copytree(source, target, dirs_exist_ok=True))
            for broker_id in running:
                await self._host.start(broker_id)
        return None

    # -- one broker ----------------------------------------------------------------------------------

    async def start(self, wanted: ops.OfBroker) -> Plain:
        await self._host.start(wanted.broker)
        return None

    async def stop(self, wanted: ops.OfBroker) -> Plain:
        await self._host.stop(wanted.broker)
        return None

    async def restart(self, wanted: ops.OfBroker) -> Plain:
        await self._host.restart(wanted.broker)
        return None

    async def kill(self, wanted: ops.Kill) -> Plain:
        await self._host.kill(wanted.broker, expire_session=wanted.expire_session)
        return None

    async def pause(self, wanted: ops.OfBroker) -> Plain:
        self._host.pause(wanted.broker)
        return None

    async def resume(self, wanted: ops.OfBroker) -> Plain:
        self._host.resume(wanted.broker)
        return None

    async def fail_disk(self, wanted: ops.OfDisk) -> Plain:
        self._host.hosted(wanted.broker).files.broken.update(self._disks(wanted))
        return None

    async def fill_disk(self, wanted: ops.OfDisk) -> Plain:
        self._host.hosted(wanted.broker).files.full.update(self._disks(wanted))
        return None

    async def heal_disk(self, wanted: ops.OfDisk) -> Plain:
        files = self._host.hosted(wanted.broker).files
        for folder in self._disks(wanted):
            files.broken.discard(folder)
            files.full.discard(folder)
        return None

    def _disks(self, wanted: ops.OfDisk) -> list[Path]:
        self._host.hosted(wanted.broker)
        folders = self._host.log_dirs(wanted.broker)
        if wanted.log_dir is None:
            return folders
        if not 0 <= wanted.log_dir < len(folders):
            raise NoSuchThing(f"broker {wanted.broker} has log directories 0 to {len(folders) - 1}")
        return [folders[wanted.log_dir]]

    # -- leaders, coordinators, groups ---------------------------------------------------------------

    async def move_leader(self, wanted: ops.MoveLeader) -> Plain:
        self._host.hosted(wanted.broker)
        await self._admin.set_leadership(TopicPartition(wanted.topic, wanted.partition), wanted.broker)
        return None

    async def move_coordinator(self, wanted: ops.MoveCoordinator) -> Plain:
        self._host.hosted(wanted.broker)
        if (wanted.group is None) == (wanted.transactional_id is None):
            raise BadInput("give either a group or a transactional_id")
        if wanted.group is not None:
            await self._admin.coordinator(wanted.group)
            partition = self._admin.coordinator_partition(wanted.group)
        else:
            assert wanted.transactional_id is not None
            await self._admin.transactions(wanted.transactional_id)
            partition = self._admin.coordinator_partition(wanted.transactional_id, TRANSACTION_STATE)
        await self._admin.set_leadership(partition, wanted.broker)
        return None

    async def set_isr(self, wanted: ops.SetIsr) -> Plain:
        tp = TopicPartition(wanted.topic, wanted.partition)
        await self._admin.set_leadership(tp, isr=wanted.isr)
        return None

    async def bump_epoch(self, wanted: ops.OfPartition) -> Plain:
        await self._admin.set_leadership(TopicPartition(wanted.topic, wanted.partition))
        return None

    async def rebalance(self, wanted: ops.OfGroup) -> Plain:
        coordinator = await self._admin.coordinator(wanted.group)
        if not coordinator.groups.rebalance(wanted.group):
            raise NoSuchThing(f"group {wanted.group!r} has no members that could rebalance")
        return None

    async def expire_member(self, wanted: ops.OfMember) -> Plain:
        coordinator = await self._admin.coordinator(wanted.group)
        expired = coordinator.groups.expire_members(wanted.group, wanted.member)
        if not expired:
            who = "no members" if wanted.member is None else f"no member {wanted.member!r}"
            raise NoSuchThing(f"group {wanted.group!r} has {who}")
        return list(expired)

    async def fence_producer(self, wanted: ops.OfTransaction) -> Plain:
        """Asks for a producer id until the transaction that was open is aborted."""
        timeout_ms = (await self._transaction(wanted.transactional_id)).timeout_ms
        call = InitCall(wanted.transactional_id, timeout_ms)
        while True:
            coordinator = await self._admin.transactions(wanted.transactional_id)
            error = (await coordinator.init(call)).error
            if error is ErrorCode.NONE:
                return None
            if error is not ErrorCode.CONCURRENT_TRANSACTIONS:
                raise OperationFailed(f"transactional id {wanted.transactional_id!r}: {error.name}")
            await trio.sleep(LOOK_AGAIN_S)

    async def expire_transaction(self, wanted: ops.OfTransaction) -> Plain:
        name = wanted.transactional_id
        state = (await self._transaction(name)).state
        coordinator = await self._admin.transactions(name)
        if not coordinator.time_out(name):
            raise OperationFailed(f"transactional id {name!r} has no open transaction: it is {state}")
        await self._admin.until(lambda: coordinator.describe(name).state == COMPLETE_ABORT.word)
        return None

    async def _transaction(self, transactional_id: str) -> TransactionDescription:
        coordinator = await self._admin.transactions(transactional_id)
        try:
            return coordinator.describe(transactional_id)
        except ApiError:
            known = [each.transactional_id for each in coordinator.list_transactions(ListFilter())]
            raise NoSuchThing(
                f"there is no transactional id {transactional_id!r}; there are: {', '.join(known) or 'none'}"
            ) from None

    # -- faults --------------------------------------------------------------------------------------

    async def add_fault(self, rule: FaultRule) -> Plain:
        return _plain_rule(self._host.faults.add(rule, self._host.brokers))

    async def faults(self, _: ops.Nothing) -> Plain:
        return [_plain_rule(active) for active in self._host.faults.rules()]

    async def remove_fault(self, wanted: ops.RemoveFault) -> Plain:
        if not self._host.faults.remove(wanted.number):
            known = ", ".join(str(active.number) for active in self._host.faults.rules()) or "none"
            raise NoSuchThing(f"there is no fault rule {wanted.number}; there are: {known}")
        return None

    async def clear_faults(self, _: ops.Nothing) -> Plain:
        self._host.faults.clear()
        return None

    # -- broker time ---------------------------------------------------------------------------------

    async def clock(self, _: ops.Nothing) -> Plain:
        clock = self._host.clock
        return {
            "now_ms": clock.now_ms(),
            "is_frozen": clock.is_frozen,
            "timers": dict(sorted(self._host.timers.pending().items())),
        }

    async def freeze(self, wanted: ops.Freeze) -> Plain:
        self._host.clock.freeze(wanted.at_ms)
        return {"now_ms": self._host.clock.now_ms()}

    async def unfreeze(self, _: ops.Nothing) -> Plain:
        self._host.clock.resume()
        return {"now_ms": self._host.clock.now_ms()}

    async def advance(self, wanted: ops.Advance) -> Plain:
        """Broker time leaps; the timers that are due then fire in their order. With ``only`` all others keep
        the distance that they had."""
        by_ms = wanted.total_ms
        if by_ms < 0:
            raise BadInput(f"broker time cannot go back, and this is {by_ms} ms")
        timers, clock = self._host.timers, self._host.clock
        unknown = sorted(set(wanted.only) - timers.kinds)
        if unknown:
            known = ", ".join(sorted(timers.kinds))
            raise BadInput(f"only: there are no timers of kind {', '.join(unknown)}; kinds are {known}")
        async with self._turn:
            if wanted.only:
                timers.postpone(by_ms, but=wanted.only)
            clock.advance(by_ms)
            await self._settle()
        return {"now_ms": clock.now_ms()}

    async def _settle(self) -> None:
        """Returns when no timer is due and nobody works on what fell due."""
        limiter = trio.to_thread.current_default_thread_limiter()
        with trio.move_on_after(SETTLE_S):
            while True:
                await trio.testing.wait_all_tasks_blocked()
                deadline_ms = self._host.timers.next_deadline_ms()
                is_due = deadline_ms is not None and deadline_ms <= self._host.clock.now_ms()
                if not is_due and not limiter.borrowed_tokens and not self._is_any_job_running():
                    return
                await trio.sleep(0.001)

    def _is_any_job_running(self) -> bool:
        return any(
            hosted.broker is not None and hosted.broker.is_maintaining
            for hosted in self._host.brokers.values()
        )

    # -- looking and waiting -------------------------------------------------------------------------

    async def journal(self, wanted: ops.ReadJournal) -> Plain:
        _check_names(wanted)
        return [_plain_entry(entry) for entry in self._host.journal.entries(wanted.wanted)[-wanted.limit :]]

    async def clear_journal(self, _: ops.Nothing) -> Plain:
        self._host.journal.clear()
        return None

    async def wait_for_requests(self, wanted: ops.WaitForRequests) -> Plain:
        _check_names(wanted)
        journal = self._host.journal

        def so_far() -> str:
            return f"{len(journal.entries(wanted.wanted))} of {wanted.count} such requests were answered"

        found = await _within(wanted.timeout_s, lambda: journal.wait_for(wanted.wanted, wanted.count), so_far)
        return [_plain_entry(entry) for entry in found[-wanted.limit :]]

    async def wait_for_topic(self, wanted: ops.WaitForTopic) -> Plain:
        def so_far() -> str:
            found = self._admin.image.topics.get(wanted.topic)
            if found is None:
                return f"there is no topic {wanted.topic!r}"
            led = sum(partition.leader >= 0 for partition in found.partitions.values())
            return f"{led} of {wanted.partitions} partitions of {wanted.topic} have a leader"

        await _within(
            wanted.timeout_s, lambda: self._admin.until_led(wanted.topic, wanted.partitions), so_far
        )
        return None

    async def wait_for_group(self, wanted: ops.WaitForGroup) -> Plain:
        coordinator = await self._admin.coordinator(wanted.group)
        described: list[GroupDescription | ConsumerGroupDescription | None] = [None]

        def is_so() -> bool:
            groups = coordinator.groups
            try:
                found = groups.describe(wanted.group) or groups.describe_consumer_group(wanted.group)
            except ApiError as error:
                if error.code is not ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
                    raise
                found = None  # not yet
            described[0] = found
            if found is None or found.state.lower() != wanted.state.lower():
                return False
            return wanted.members is None or len(found.members) == wanted.members

        def so_far() -> str:
            found = described[0]
            if found is None:
                return f"there is no group {wanted.group!r}"
            return f"group {wanted.group} is {found.state} with {len(found.members)} members"

        await _within(wanted.timeout_s, lambda: self._admin.until(is_so), so_far)
        found: Plain = plain_value(described[0])
        return found

    async def wait_for_records(self, wanted: ops.WaitForRecords) -> Plain:
        ends: dict[int, int] = {}

        def is_so() -> bool:
            try:
                ends.update(self._admin.end_offsets(wanted.topic, wanted.partition))
            except NoSuchThing:
                return False  # not yet
            return sum(ends.values()) >= wanted.count

        def so_far() -> str:
            return f"{sum(ends.values())} of {wanted.count} records are in {wanted.topic}"

        await _within(wanted.timeout_s, lambda: self._admin.until(is_so), so_far)
        return sum(ends.values())

    async def records(self, wanted: ops.ReadRecords) -> Plain:
        return await self._admin.records(wanted.topic, wanted.partition, wanted.offset, wanted.limit)


async def _within(timeout_s: float, wait: Callable[[], Awaitable[T]], so_far: Callable[[], str]) -> T:
    with trio.move_on_after(timeout_s):
        return await wait()
    raise TimedOut(f"after {timeout_s:g} s {so_far()}")


def _check_names(wanted: ops.ReadJournal) -> None:
    """A filter that can never match is a mistake, not an empty answer."""
    if wanted.api is not None:
        find_api(wanted.api)
    if wanted.error is not None:
        find_error(wanted.error)


def _plain_rule(active: ActiveRule) -> dict[str, Any]:
    rule = plain_value(active.rule)
    return {"number": active.number, "matched": active.matched, "fired": active.fired, "rule": rule}


def _plain_entry(entry: Entry) -> dict[str, Any]:
    plain: dict[str, Any] = plain_value(entry)
    return plain
