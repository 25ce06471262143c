"""The reply that carries one error code for a whole request.

Most responses have an error code of their own. The others have one per topic, partition, group or resource,
and answer for every item that the request names; the table below tells where the two lists are and which
fields identify an item. Source: ``getErrorResponse`` of each request class in Kafka 3.9's clients.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from typing import Any, TypeAlias

from msgspec import field

from pybroker.model.errors import ErrorCode
from pybroker.model.values import Value
from pybroker.protocol.apis import ApiSpec
from pybroker.protocol.message_classes import Message
from pybroker.protocol.spec_model import FieldSpec

PRODUCE = 0
FETCH = 1
FIRST_FETCH_WITH_TOPIC_IDS = 13
"""Before it Fetch tells an error twice: for the whole and for each partition."""

ITSELF = ""
"""Stands for the request's item itself, when its list holds plain names or numbers."""


class Mirror(Value):
    """A list of the response that answers item by item for a list of the request.

    Attributes:
        request_list, response_list: names of the two fields.
        struct: the class of the response's items.
        keys: what identifies an item: field of the response to field of the request.
        fixed: other fields that an error fills, when not with their defaults.
        inner: the lists inside the items; without it the items themselves carry the error code.
        code: the field that carries it.
    """

    request_list: str
    response_list: str
    struct: str
    keys: Mapping[str, str]
    inner: "Mirror | None" = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    code: str = "error_code"


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


def _share_state(topic_struct: str) -> tuple[Mirror, ...]:
    partitions = Mirror("partitions", "partitions", "PartitionResult", _same("partition"))
    return (Mirror("topics", "results", topic_struct, _same("topic_id"), partitions),)


_NAME = _same("name")
_NAME_OR_ID = _same("name", "topic_id")
_INDEX = _same("partition_index")
_RESOURCE = _same("resource_type", "resource_name")
_NO_OFFSET = {"committed_offset": -1, "metadata": ""}
_TXN_TOPIC = Mirror(
    "partitions",
    "results_by_partition",
    "AddPartitionsToTxnPartitionResult",
    {"partition_index": ITSELF},
    code="partition_error_code",
)

MIRRORS: Mapping[int, tuple[Mirror, ...]] = {
    PRODUCE: (
        Mirror(
            "topic_data",
            "responses",
            "TopicProduceResponse",
            _NAME_OR_ID,
            Mirror(
                "partition_data",
                "partition_responses",
                "PartitionProduceResponse",
                _same("index"),
                fixed={"base_offset": -1},
            ),
        ),
    ),
    1: (
        Mirror(
            "topics",
            "responses",
            "FetchableTopicResponse",
            _same("topic", "topic_id"),
            Mirror(
                "partitions",
                "partitions",
                "PartitionData",
                {"partition_index": "partition"},
                fixed={"high_watermark": -1, "records": None},
            ),
        ),
    ),
    2: (
        Mirror(
            "topics",
            "topics",
            "ListOffsetsTopicResponse",
            _NAME,
            Mirror("partitions", "partitions", "ListOffsetsPartitionResponse", _INDEX),
        ),
    ),
    3: (Mirror("topics", "topics", "MetadataResponseTopic", _NAME_OR_ID),),
    8: (
        Mirror(
            "topics",
            "topics",
            "OffsetCommitResponseTopic",
            _NAME_OR_ID,
            Mirror("partitions", "partitions", "OffsetCommitResponsePartition", _INDEX),
        ),
    ),
    9: (
        Mirror("groups", "groups", "OffsetFetchResponseGroup", _same("group_id")),
        Mirror(
            "topics",
            "topics",
            "OffsetFetchResponseTopic",
            _NAME,
            Mirror(
                "partition_indexes",
                "partitions",
                "OffsetFetchResponsePartition",
                {"partition_index": ITSELF},
                fixed=_NO_OFFSET,
            ),
        ),
    ),
    10: (
        Mirror(
            "coordinator_keys",
            "coordinators",
            "Coordinator",
            {"key": ITSELF},
            fixed={"node_id": -1, "port": -1},
        ),
    ),
    15: (Mirror("groups", "groups", "DescribedGroup", {"group_id": ITSELF}),),
    19: (Mirror("topics", "topics", "CreatableTopicResult", _NAME),),
    20: (
        Mirror("topics", "responses", "DeletableTopicResult", _NAME_OR_ID),
        Mirror("topic_names", "responses", "DeletableTopicResult", {"name": ITSELF}),
    ),
    21: (
        Mirror(
            "topics",
            "topics",
            "DeleteRecordsTopicResult",
            _NAME,
            Mirror(
                "partitions",
                "partitions",
                "DeleteRecordsPartitionResult",
                _INDEX,
                fixed={"low_watermark": -1},
            ),
        ),
    ),
    23: (
        Mirror(
            "topics",
            "topics",
            "OffsetForLeaderTopicResult",
            _same("topic"),
            Mirror("partitions", "partitions", "EpochEndOffset", _same("partition")),
        ),
    ),
    24: (
        Mirror(
            "v3_and_below_topics",
            "results_by_topic_v3_and_below",
            "AddPartitionsToTxnTopicResult",
            _NAME,
            _TXN_TOPIC,
        ),
    ),
    27: (
        Mirror(
            "markers",
            "markers",
            "WritableTxnMarkerResult",
            _same("producer_id"),
            Mirror(
                "topics",
                "topics",
                "WritableTxnMarkerTopicResult",
                _NAME,
                Mirror(
                    "partition_indexes",
                    "partitions",
                    "WritableTxnMarkerPartitionResult",
                    {"partition_index": ITSELF},
                ),
            ),
        ),
    ),
    28: (
        Mirror(
            "topics",
            "topics",
            "TxnOffsetCommitResponseTopic",
            _NAME_OR_ID,
            Mirror("partitions", "partitions", "TxnOffsetCommitResponsePartition", _INDEX),
        ),
    ),
    30: (Mirror("creations", "results", "AclCreationResult", {}),),
    31: (Mirror("filters", "filter_results", "DeleteAclsFilterResult", {}),),
    32: (Mirror("resources", "results", "DescribeConfigsResult", _RESOURCE),),
    33: (Mirror("resources", "responses", "AlterConfigsResourceResponse", _RESOURCE),),
    35: (),  # before version 3 there is no field for an error and no item to carry it: an empty answer
    37: (Mirror("topics", "results", "CreatePartitionsTopicResult", _NAME),),
    42: (Mirror("groups_names", "results", "DeletableGroupResult", {"group_id": ITSELF}),),
    43: (
        Mirror(
            "topic_partitions",
            "replica_election_results",
            "ReplicaElectionResult",
            _same("topic"),
            Mirror("partitions", "partition_result", "PartitionResult", {"partition_id": ITSELF}),
        ),
    ),
    44: (Mirror("resources", "responses", "AlterConfigsResourceResponse", _RESOURCE),),
    49: (Mirror("entries", "entries", "EntryData", {}),),
    51: (
        Mirror("deletions", "results", "AlterUserScramCredentialsResult", {"user": "name"}),
        Mirror("upsertions", "results", "AlterUserScramCredentialsResult", {"user": "name"}),
    ),
    61: (
        Mirror(
            "topics",
            "topics",
            "TopicResponse",
            _NAME,
            Mirror("partition_indexes", "partitions", "PartitionResponse", {"partition_index": ITSELF}),
        ),
    ),
    65: (
        Mirror("transactional_ids", "transaction_states", "TransactionState", {"transactional_id": ITSELF}),
    ),
    69: (Mirror("group_ids", "groups", "DescribedGroup", {"group_id": ITSELF}),),
    75: (Mirror("topics", "topics", "DescribeTopicPartitionsResponseTopic", _NAME),),
    77: (Mirror("group_ids", "groups", "DescribedGroup", {"group_id": ITSELF}),),
    83: _share_state("InitializeStateResult"),
    84: _share_state("ReadStateResult"),
    85: _share_state("WriteStateResult"),
    86: _share_state("DeleteStateResult"),
    87: _share_state("ReadStateSummaryResult"),
    89: (Mirror("group_ids", "groups", "DescribedGroup", {"group_id": ITSELF}),),
    90: (Mirror("groups", "groups", "DescribeShareGroupOffsetsResponseGroup", _same("group_id")),),
}


def error_response(
    api: ApiSpec, version: int, request: Any, code: ErrorCode, message: str | None = None
) -> Any | None:
    """The response of ``api`` that tells ``code`` for all that ``request`` asks; None when there is no such
    response: a produce request without acknowledgement, or an API that the table leaves out."""
    if api.key == PRODUCE and request.acks == 0:
        return None
    response = api.response()
    error = _Error(code, message, api.response, version)
    if error.fits(api.response.__spec__.fields, "error_code"):
        error.put(response, api.response.__spec__.fields, "error_code")
        if api.key != FETCH or version >= FIRST_FETCH_WITH_TOPIC_IDS:
            return response
    mirrors = MIRRORS.get(api.key)
    if mirrors is None:
        return None
    for mirror in mirrors:
        asked = getattr(request, mirror.request_list) or ()
        getattr(response, mirror.response_list).extend(_items(mirror, asked, error))
    return response


Hit: TypeAlias = Callable[[Any, Any | None], bool]
"""Whether an item of a request is meant: the item, and one of those in it where it is a list (else None)."""


class TakenItems:
    """Items taken out of a request, and the answer that each gets instead."""

    def __init__(self, answers: list[tuple[Mirror, list[Any]]], *, is_all: bool) -> None:
        self._answers = answers
        self.is_all = is_all
        """Whether nothing is left in the request."""

    def __bool__(self) -> bool:
        return any(items for _, items in self._answers)

    def add_to(self, response: Any) -> None:
        """Puts the answers into the response to what was left; what it says of the same items gives way."""
        for mirror, items in self._answers:
            _merge(mirror, getattr(response, mirror.response_list), items)


def take_items(api: ApiSpec, version: int, request: Any, code: ErrorCode, hit: Hit) -> TakenItems:
    """Takes what is hit out of the lists of ``request``, which changes, and answers it with ``code``.

    Nothing is taken from an API that does not answer item by item.
    """
    error = _Error(code, None, api.response, version)
    answers = []
    is_all = True
    for mirror in MIRRORS.get(api.key, ()):
        kept, taken = _split(mirror, getattr(request, mirror.request_list) or (), hit)
        if taken:
            setattr(request, mirror.request_list, kept)
            answers.append((mirror, list(_items(mirror, taken, error))))
        is_all = is_all and not kept
    return TakenItems(answers, is_all=is_all)


def _split(mirror: Mirror, items: Iterable[Any], hit: Hit) -> tuple[list[Any], list[Any]]:
    kept: list[Any] = []
    taken: list[Any] = []
    for item in items:
        inner = mirror.inner
        if inner is None:
            (taken if hit(item, None) else kept).append(item)
            continue
        parts = getattr(item, inner.request_list) or ()
        hits = [part for part in parts if hit(item, part)]
        rest = [part for part in parts if not hit(item, part)]
        if hits:
            taken.append(_with(item, inner.request_list, hits))
        if rest or not hits:
            kept.append(_with(item, inner.request_list, rest))
    return kept, taken


def _with(item: Any, name: str, values: list[Any]) -> Any:
    changed = copy(item)
    setattr(changed, name, values)
    return changed


def _merge(mirror: Mirror, present: list[Any], items: Iterable[Any]) -> None:
    for item in items:
        key = [getattr(item, name) for name in mirror.keys]
        place = next(
            (n for n, other in enumerate(present) if [getattr(other, name) for name in mirror.keys] == key),
            None,
        )
        if place is None:
            present.append(item)
        elif mirror.inner is None:
            present[place] = item
        else:
            inner = mirror.inner.response_list
            _merge(mirror.inner, getattr(present[place], inner), getattr(item, inner))


class _Error(Value):
    code: ErrorCode
    message: str | None
    response: type[Message]
    version: int

    def fits(self, fields: Iterable[FieldSpec], name: str) -> bool:
        return any(spec.name == name and self.version in spec.versions for spec in fields)

    def put(self, target: Any, fields: Iterable[FieldSpec], code_field: str) -> None:
        setattr(target, code_field, int(self.code))
        if self.message is not None and self.fits(fields, "error_message"):
            target.error_message = self.message


def _items(mirror: Mirror, items: Iterable[Any], error: _Error) -> Iterator[Any]:
    make = getattr(error.response, mirror.struct)
    for asked in items:
        item = make(**mirror.fixed)
        for name, source in mirror.keys.items():
            value = asked if source == ITSELF else getattr(asked, source)
            if value is not None:
                setattr(item, name, value)
        inner = mirror.inner
        if inner is None:
            error.put(item, error.response.__spec__.structs[mirror.struct].fields, mirror.code)
        else:
            parts = getattr(asked, inner.request_list) or ()
            getattr(item, inner.response_list).extend(_items(inner, parts, error))
        yield item
