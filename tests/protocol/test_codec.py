"""What callers of the generated codec rely on, beyond the bytes themselves."""

from collections.abc import Callable
from typing import Any

import pytest
from construct import Bytes

from pybroker.protocol import codec
from pybroker.protocol.codec import (
    MalformedMessage,
    UnencodableMessage,
    UnsupportedVersion,
    decode,
    decode_exactly,
    encode,
    encode_parts,
)
from pybroker.protocol.generate_decoder import decoder_source
from pybroker.protocol.generate_encoder import encoder_source
from pybroker.protocol.messages import (
    ApiVersionsRequest,
    ApiVersionsResponse,
    DescribeTopicPartitionsRequest,
    FetchRequest,
    FetchResponse,
    HeartbeatRequest,
    MetadataRequest,
    ProduceRequest,
    RequestHeader,
)
from pybroker.protocol.primitives import Structure

TOPIC_ID = bytes(range(16))


class FileSlice:
    """Stands for bytes of a file: it has a length and is nothing else."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size


def fetch_response(*records: Any) -> FetchResponse:
    partitions = [
        FetchResponse.PartitionData(partition_index=index, records=one) for index, one in enumerate(records)
    ]
    topic = FetchResponse.FetchableTopicResponse(topic_id=TOPIC_ID, partitions=partitions)
    return FetchResponse(responses=[topic])


def produce_request(records: Any) -> ProduceRequest:
    partition = ProduceRequest.PartitionProduceData(index=1, records=records)
    return ProduceRequest(
        acks=-1, topic_data=[ProduceRequest.TopicProduceData(name="t", partition_data=[partition])]
    )


def records_of(request: ProduceRequest) -> memoryview | None:
    return request.topic_data[0].partition_data[0].records


@pytest.mark.parametrize("version", [3, 9])
def test_records_are_a_writable_slice_of_the_input(version: int) -> None:
    buffer = bytearray(encode(produce_request(b"RECORDS"), version))
    decoded, _ = decode(ProduceRequest, version, memoryview(buffer))
    records = records_of(decoded)
    assert isinstance(records, memoryview)
    records[0:1] = b"x"
    assert b"xECORDS" in buffer


@pytest.mark.parametrize("version", [3, 9])
@pytest.mark.parametrize("records", [None, b""])
def test_null_records_and_empty_records_stay_apart(version: int, records: bytes | None) -> None:
    data = encode(produce_request(records), version)
    assert records_of(decode_exactly(ProduceRequest, version, data)) == records


def test_text_survives_the_reuse_of_its_buffer() -> None:
    """Waiting requests keep their decoded message, not the receive buffer."""
    buffer = bytearray(encode(FetchRequest(rack_id="here", topics=[]), 13))
    decoded, _ = decode(FetchRequest, 13, memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert decoded.rack_id == "here"


def test_decoding_starts_at_the_position_and_tells_the_end() -> None:
    data = encode(HeartbeatRequest(group_id="g", member_id="m", generation_id=3), 4)
    assert decode(HeartbeatRequest, 4, b"..." + data, 3)[1] == 3 + len(data)
    assert decode(RequestHeader, 1, encode(RequestHeader(client_id="c"), 1) + b"body")[1] == 11


def test_bytes_after_the_end_are_an_error_when_the_message_must_fill_the_buffer() -> None:
    data = encode(HeartbeatRequest(), 4)
    assert decode(HeartbeatRequest, 4, data + b"x")[1] == len(data)
    with pytest.raises(MalformedMessage, match="1 bytes after its end"):
        decode_exactly(HeartbeatRequest, 4, data + b"x")


def test_text_that_is_not_utf8_is_malformed() -> None:
    data = encode(HeartbeatRequest(group_id="gg", member_id="m"), 4).replace(b"gg", b"\xff\xfe")
    with pytest.raises(MalformedMessage):
        decode(HeartbeatRequest, 4, data)


def test_a_file_slice_is_a_part_of_its_own_and_its_length_is_on_the_wire() -> None:
    file_slice = FileSlice(100_000)
    parts = encode_parts(fetch_response(b"small", file_slice, None), 13)
    assert parts[1] is file_slice
    assert len(parts) == 3
    whole = b"".join(bytes(part.size) if isinstance(part, FileSlice) else part for part in parts)
    assert encode(fetch_response(b"small", bytes(100_000), None), 13) == whole


def test_large_records_are_passed_through_and_small_ones_joined() -> None:
    large = memoryview(bytearray(5000))
    parts = encode_parts(fetch_response(b"small", large), 13)
    assert [part is large for part in parts] == [False, True, False]
    assert b"".join(parts) == encode(fetch_response(b"small", large), 13)
    assert len(encode_parts(fetch_response(b"small", b"small"), 13)) == 1


def test_an_empty_file_slice_is_kept_so_that_its_owner_can_release_it() -> None:
    file_slice = FileSlice(0)
    assert file_slice in encode_parts(fetch_response(file_slice), 13)


def test_a_file_slice_cannot_be_joined() -> None:
    with pytest.raises(UnencodableMessage):
        encode(fetch_response(FileSlice(10)), 13)


def test_a_value_that_the_version_lacks_is_refused_unless_ignorable() -> None:
    ignorable = FetchRequest(rack_id="r")
    assert decode_exactly(FetchRequest, 4, encode(ignorable, 4)).rack_id == ""
    state = FetchRequest.ReplicaState(replica_id=1, replica_epoch=2)
    with pytest.raises(UnsupportedVersion, match="replica_state"):
        encode(FetchRequest(replica_state=state), 12)
    with pytest.raises(UnsupportedVersion, match="forgotten_topics_data"):
        encode(FetchRequest(forgotten_topics_data=[FetchRequest.ForgottenTopic()]), 6)
    assert encode(FetchRequest(replica_state=state), 15)


@pytest.mark.parametrize("function", [codec.decoder, codec.encoder, codec.parts_encoder])
def test_a_version_that_does_not_exist(function: Callable[[Any, int], Any]) -> None:
    with pytest.raises(UnsupportedVersion, match="not 99"):
        function(FetchRequest, 99)


def test_fields_that_a_version_lacks_are_read_as_their_defaults() -> None:
    decoded = decode_exactly(MetadataRequest, 0, encode(MetadataRequest(), 0))
    assert decoded == MetadataRequest(topics=[], allow_auto_topic_creation=True)


def test_defaults_of_decoded_messages_are_not_shared() -> None:
    data = encode(fetch_response(b"", b""), 13)
    one, other = decode_exactly(FetchResponse, 13, data).responses[0].partitions
    assert one.current_leader == other.current_leader
    assert one.current_leader is not other.current_leader
    assert one.aborted_transactions is not other.aborted_transactions or one.aborted_transactions is None


@pytest.mark.parametrize(
    ("message", "version"),
    [
        (HeartbeatRequest(generation_id=2**31), 4),
        (HeartbeatRequest(generation_id="1"), 4),
        (HeartbeatRequest(group_id=None), 4),
        (HeartbeatRequest(group_id="\ud800"), 4),
        (HeartbeatRequest(group_id="x" * 0x8000), 0),
        (HeartbeatRequest(group_id="x" * 0x8000), 4),
        (MetadataRequest(topics=None), 0),
        (MetadataRequest(topics=[MetadataRequest.MetadataRequestTopic(topic_id=b"short")]), 12),
    ],
)
def test_values_that_do_not_fit_are_refused(message: Any, version: int) -> None:
    with pytest.raises(UnencodableMessage):
        encode(message, version)


def test_tagged_fields_travel_when_set() -> None:
    response = ApiVersionsResponse(
        finalized_features_epoch=7,
        finalized_features=[
            ApiVersionsResponse.FinalizedFeatureKey(name="f", max_version_level=1, min_version_level=1)
        ],
    )
    assert decode_exactly(ApiVersionsResponse, 3, encode(response, 3)) == response
    assert len(encode(ApiVersionsResponse(), 3)) == 2 + 1 + 4 + 1


def test_unknown_tagged_fields_are_skipped_at_every_level() -> None:
    plain = encode(ApiVersionsRequest(client_software_name="n", client_software_version="v"), 3)
    assert plain[-1] == 0
    tagged = plain[:-1] + bytes.fromhex("020500800102beef")
    assert decode_exactly(ApiVersionsRequest, 3, tagged) == decode_exactly(ApiVersionsRequest, 3, plain)


def test_tagged_fields_inside_a_batch_of_fixed_size_structures() -> None:
    """The fast path for arrays of fixed-size structures ends at the first that has a tagged field."""
    partitions = [FetchRequest.FetchPartition(partition=index) for index in range(20)]
    partitions[7].replica_directory_id = TOPIC_ID
    partitions[19].high_watermark = 5
    request = FetchRequest(topics=[FetchRequest.FetchTopic(topic_id=TOPIC_ID, partitions=partitions)])
    assert decode_exactly(FetchRequest, 18, encode(request, 18)) == request


def test_nullable_structures() -> None:
    request = DescribeTopicPartitionsRequest(cursor=None)
    assert decode_exactly(DescribeTopicPartitionsRequest, 0, encode(request, 0)).cursor is None
    request.cursor = DescribeTopicPartitionsRequest.Cursor(topic_name="t", partition_index=3)
    assert decode_exactly(DescribeTopicPartitionsRequest, 0, encode(request, 0)) == request


def test_code_is_generated_once() -> None:
    assert codec.decoder(FetchRequest, 13) is codec.decoder(FetchRequest, 13)
    assert codec.encoder(FetchRequest, 13) is codec.encoder(FetchRequest, 13)


def test_a_construct_outside_the_vocabulary_is_refused_when_code_is_generated() -> None:
    tree = Structure(dict, {}, None)
    tree.members["strange"] = Bytes(3)
    with pytest.raises(NotImplementedError):
        decoder_source(tree, "x", whole=True)
    with pytest.raises(NotImplementedError):
        encoder_source(tree, "x")
