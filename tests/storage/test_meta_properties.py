"""``meta.properties`` is a properties file as Java reads it, whatever somebody has put into it."""

from pathlib import Path
from tempfile import TemporaryDirectory

import javaproperties
from hypothesis import given
from hypothesis import strategies as st

from pybroker.storage.files import Files
from pybroker.storage.meta_properties import MetaProperties, read_meta_properties, write_meta_properties

PLAIN = st.text(st.sampled_from("abcZ09._-"), min_size=1, max_size=8)
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FURTHER = st.dictionaries(PLAIN | ANY, PLAIN | ANY, max_size=3)


@given(FURTHER, PLAIN)
def test_a_claimed_file_holds_what_it_held_and_its_owner(further: dict[str, str], cluster_id: str) -> None:
    owner = {"version": "0", "broker.id": "7", "cluster.id": cluster_id}
    with TemporaryDirectory() as directory:
        file = Path(directory, "meta.properties")
        if further:
            file.write_text(javaproperties.dumps(further), encoding="latin-1")
        write_meta_properties(Files(), directory, 7, cluster_id)
        assert javaproperties.loads(file.read_text(encoding="latin-1")) == {**further, **owner}
        assert read_meta_properties(Files(), directory) == MetaProperties(7, cluster_id)
