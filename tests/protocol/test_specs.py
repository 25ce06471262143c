"""The spec files parse, the loader reads no more than it needs, and every grammar error names its place."""

import re

import pytest

from pybroker.protocol import messages, specs
from pybroker.protocol.specs import NO_VERSIONS, SpecError, VersionRange, parse_file

LEFT_OUT = {52, 53, 54, 59, 62, 63, 70, 73, 80, 81, 82}

PLAIN = """
[messages.Thing]
versions = "0-5"
flexible = "3+"
fields = [{fields}]
"""


def parse(*fields: str, structs: str = "") -> specs.MessageSpec:
    quoted = ", ".join(f"'{field}'" for field in fields)
    return parse_file("things", PLAIN.format(fields=quoted) + structs).messages["Thing"]


def parse_one(field: str) -> specs.FieldSpec:
    (found,) = parse(field).fields
    return found


def test_every_api_key_a_broker_meets_has_a_file() -> None:
    assert set(specs.file_index()) == set(range(93)) - LEFT_OUT
    assert specs.plain_files() == (
        "consumer_protocol",
        "headers",
        "records_consumer_offsets",
        "records_transaction_state",
    )


def test_every_file_parses_and_message_names_are_unique() -> None:
    stems = (*specs.file_index().values(), *specs.plain_files())
    assert len(specs.all_messages()) == sum(len(specs.load_file(stem).messages) for stem in stems)


@pytest.mark.parametrize("stem", [*specs.file_index().values(), *specs.plain_files()])
def test_every_file_opens_with_a_card(stem: str) -> None:
    text = (specs.spec_folder() / f"{stem}.toml").read_text()
    card = re.match(r"(# [^\n]+\n)+(#\n|# [^\n]+\n)*", text)
    assert card is not None
    assert len(card[0]) > 50, "a card says what the API does and what its versions changed"


def test_versions_read_without_parsing_are_the_parsed_ones() -> None:
    for key in specs.file_index():
        api, quick = specs.load_api(key), specs.api_versions(key)
        assert (quick.key, quick.name) == (api.key, api.name)
        assert quick.versions == api.request.versions
        assert quick.flexible == api.request.flexible == api.response.flexible


def test_a_message_is_found_by_name_wherever_it_lives() -> None:
    assert specs.find_message("FetchResponse") is specs.load_api(1).response
    assert specs.find_message("RequestHeader").versions == VersionRange(0, 2)
    assert specs.find_message("GroupMetadataKey").versions == VersionRange(2, 2)
    assert specs.find_message("ConsumerProtocolSubscription").flexible == NO_VERSIONS
    for unknown in ("Fetch", "FetchrResponse", "Nothing", "nothingRequest"):
        with pytest.raises(KeyError):
            specs.find_message(unknown)


def test_keys_of_coordinator_records_are_told_apart_by_their_version() -> None:
    """The first int16 of a record's key is the record type, and the key's version in the spec."""
    keys = [
        version
        for name, message in specs.load_file("records_consumer_offsets").messages.items()
        if name.endswith("Key")
        for version in message.versions
    ]
    assert len(keys) == len(set(keys))


def test_a_field_has_name_type_and_versions() -> None:
    field = parse_one("topic  string  0+")
    assert (field.name, field.type, field.is_array) == ("topic", "string", False)
    assert field.versions == VersionRange(0, 5)
    assert field.nullable == NO_VERSIONS
    assert field.tag is None
    assert field.tagged == NO_VERSIONS
    assert field.default == ""
    assert not field.ignorable
    assert not field.map_key
    assert field.flexible is None


def test_versions_are_one_a_range_or_open_to_the_last() -> None:
    assert parse_one("a int8 2").versions == VersionRange(2, 2)
    assert parse_one("a int8 2-4").versions == VersionRange(2, 4)
    assert parse_one("a int8 2+").versions == VersionRange(2, 5)


def test_nullable_in_all_versions_or_in_some() -> None:
    assert parse_one("a []int8? 1+").nullable == VersionRange(1, 5)
    assert parse_one("a string 1+ nullable=3+").nullable == VersionRange(3, 5)


def test_a_tag_holds_for_the_versions_of_the_field_unless_it_says_otherwise() -> None:
    assert parse_one("a int8 3+ tag=4").tagged == VersionRange(3, 5)
    assert parse_one("a int8 0+ tag=4 tagged=4+").tagged == VersionRange(4, 5)


@pytest.mark.parametrize(
    ("field", "default"),
    [
        ("a int32 0+ default=-1", -1),
        ("a int32 0+ default=0x7fffffff", 2**31 - 1),
        ("a bool 0+ default=true", True),
        ("a bool 0+", False),
        ("a float64 0+ default=0.5", 0.5),
        ('a string 0+ default="two words"', "two words"),
        ("a string? 0+ default=null", None),
        ("a string? 0+", ""),
        ("a bytes 0+", b""),
        ("a uuid 0+", bytes(16)),
        ("a records? 0+", None),
        ("a []int8 0+", ()),
        ("a []int8? 0+ default=null", None),
    ],
)
def test_defaults(field: str, default: specs.Default) -> None:
    found = parse_one(field).default
    assert (found, type(found)) == (default, type(default))


def test_flags_and_overrides() -> None:
    field = parse_one("a string 0+ key ignorable flexible=none")
    assert field.map_key
    assert field.ignorable
    assert field.flexible == NO_VERSIONS


def test_structs_may_nest_and_be_shared() -> None:
    message = parse(
        "a []Outer 0+",
        "b Inner? 3+ default=null",
        structs="""
[messages.Thing.structs.Outer]
fields = ["inner Inner 0+"]
[messages.Thing.structs.Inner]
fields = ["x int8 0+"]
""",
    )
    assert message.fields[0].is_struct
    assert message.fields[1].default is None
    assert message.structs["Outer"].fields[0].default == ()


@pytest.mark.parametrize(
    ("field", "complaint"),
    [
        ("topic string", "expected 'name type versions"),
        ("Topic string 0+", "a field name is snake_case"),
        ("topic str 0+", "unknown type 'str'"),
        ("topic [string] 0+", "unreadable type"),
        ("topic Missing 0+", "unknown type 'Missing'"),
        ("topic string 0++", "unreadable versions '0++'"),
        ("topic string 4-3", "versions '4-3' are empty or outside 0-5"),
        ("topic string 0-6", "versions '0-6' are empty or outside 0-5"),
        ("topic string 1+ nullable=0+", "nullable: versions '0+' are empty or outside 1-5"),
        ("topic string? 1+ nullable=2+", "both '?' and nullable="),
        ("topic int8? 0+", "int8 cannot be null"),
        ("topic string 0+ tag=0", "tagged in versions 0-5, but only 3-5 are flexible"),
        ("topic string 3+ tag=x", "tag 'x' is not a number"),
        ("topic string 3+ tagged=3+", "tagged= without tag="),
        ("topic string 0+ optional", "unknown attribute 'optional'"),
        ("topic string 0+ ignorable=yes", "takes no value"),
        ("topic string 0+ default", "needs a value"),
        ("topic string 0+ key key", "attribute 'key' appears twice"),
        ("topic string 0+ default=null", "the field cannot be null"),
        ("topic string 0+ default=word", "default 'word' is no string"),
        ("topic int8 0+ default=128", "default '128' is no int8"),
        ("topic int8 0+ default=1.5", "default '1.5' is no int8"),
        ("topic bool 0+ default=1", "default '1' is no bool"),
        ("topic uuid 0+ default=1", "default '1' is no uuid"),
        ("topic []int8 0+ default=1", "can only default to null"),
    ],
)
def test_a_wrong_field_is_refused_with_its_place(field: str, complaint: str) -> None:
    with pytest.raises(SpecError) as error:
        parse("first int8 0+", field)
    text = str(error.value)
    assert text.startswith("things.toml: Thing: field ")
    assert field.split()[0] in text
    assert complaint in text


def test_a_wrong_field_of_a_struct_names_the_struct() -> None:
    with pytest.raises(SpecError, match=r"^things\.toml: Thing\.Inner: field 'x': unreadable type '\?'$"):
        parse("a Inner 0+", structs='[messages.Thing.structs.Inner]\nfields = ["x ? 0+"]')


@pytest.mark.parametrize(
    ("stem", "text", "complaint"),
    [
        ("things", "x = ", "things.toml: not TOML"),
        ("things", "", "things.toml: no [messages.…] table"),
        ("things", PLAIN.format(fields="") + "extra = 1", "things.toml: Thing: unknown entry 'extra'"),
        ("things", PLAIN.format(fields="1"), "fields must be a list of strings"),
        ("things", "api = 1\n" + PLAIN.format(fields=""), "two digits of the key"),
        ("things", "[messages.Thing]\nflexible = 'none'\nfields = []", "unreadable versions None"),
        ("things", "[messages.Thing]\nversions = '0+'\nflexible = 'none'\nfields = []", "versions '0+'"),
        (
            "things",
            "[messages.Thing]\nversions = '0-3'\nflexible = '1-2'\nfields = []",
            "flexible versions end before",
        ),
        ("01_thing", PLAIN.format(fields=""), "api = None and name = None do not match the file name"),
        (
            "01_thing",
            "api = 1\nname = 'Thing'\n" + PLAIN.format(fields=""),
            "holds ['Thing'] and not ThingRequest and ThingResponse",
        ),
        (
            "01_thing",
            (
                "api = 1\nname = 'Thing'\n"
                "[messages.ThingRequest]\nversions = '0-1'\nflexible = 'none'\nfields = []\n"
                "[messages.ThingResponse]\nversions = '0'\nflexible = 'none'\nfields = []\n"
            ),
            "request versions 0-1, response 0",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(stem: str, text: str, complaint: str) -> None:
    with pytest.raises(SpecError) as error:
        parse_file(stem, text)
    assert complaint in str(error.value)


def test_names_and_tags_are_unique_in_a_struct() -> None:
    with pytest.raises(SpecError, match="field 'a' appears twice"):
        parse("a int8 0+", "a int8 0+")
    with pytest.raises(SpecError, match="field 'b': tag 1 belongs to 'a'"):
        parse("a int8 3+ tag=1", "b int8 3+ tag=1")


def test_every_struct_is_used_and_none_contains_itself() -> None:
    with pytest.raises(SpecError, match="Thing: struct Inner is not used"):
        parse(structs="[messages.Thing.structs.Inner]\nfields = []")
    with pytest.raises(SpecError, match="struct Inner contains itself"):
        parse("a Inner 0+", structs='[messages.Thing.structs.Inner]\nfields = ["b []Inner 0+"]')


def test_a_missing_file_is_said_so() -> None:
    with pytest.raises(SpecError, match=r"^nothing\.toml: no such spec file"):
        specs.load_file("nothing")


@pytest.mark.parametrize(
    ("kafka", "ours"),
    [
        ("isKRaftController", "is_kraft_controller"),
        ("ResultsByTopicV3AndBelow", "results_by_topic_v3_and_below"),
        ("IsrNodes", "isr_nodes"),
        ("topicId", "topic_id"),
        ("SASLName", "sasl_name"),
    ],
)
def test_names_are_snake_case_of_kafkas(kafka: str, ours: str) -> None:
    assert specs.snake_case(kafka) == ours


def test_only_the_file_of_a_message_is_read_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    load_file = specs.load_file

    def load(stem: str) -> specs.SpecFile:
        loaded.append(stem)
        return load_file(stem)

    monkeypatch.setattr(specs, "load_file", load)
    assert specs.find_message("RequestHeader").name == "RequestHeader"
    assert loaded == ["headers"]
    assert not hasattr(messages, "__path__")  # as every import of a message asks
    assert loaded == ["headers"]
