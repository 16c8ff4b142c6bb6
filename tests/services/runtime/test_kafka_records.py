"""The MAC binds topic, key and value, with no way to shift bytes between them."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xstock_runtime.errors import InvalidMessage
from xstock_runtime.kafka import MAC_HEADER, Received, mac_of, verify_mac

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))


def received(topic: str, key: bytes, value: bytes, mac: bytes | None) -> Received:
    headers = () if mac is None else ((MAC_HEADER, mac),)
    return Received(topic, 0, 7, 0, key, value, headers)


def test_mac__record_of_ours__is_accepted_also_under_the_previous_key() -> None:
    record = received("t", b"k", b"v", mac_of(OTHER, "t", b"k", b"v"))
    verify_mac((KEY, OTHER), record)
    with pytest.raises(InvalidMessage, match="MAC_MISMATCH"):
        verify_mac((KEY,), record)


def test_mac__absent__is_its_own_cause() -> None:
    with pytest.raises(InvalidMessage, match="MAC_MISSING") as caught:
        verify_mac((KEY,), received("t", b"k", b"v", None))
    assert caught.value.metadata == {"topic": "t", "partition": "0", "offset": "7"}


@given(
    st.tuples(st.text(max_size=8), st.binary(max_size=8), st.binary(max_size=8)),
    st.tuples(st.text(max_size=8), st.binary(max_size=8), st.binary(max_size=8)),
)
def test_mac__any_two_different_records__never_share_one(
    left: tuple[str, bytes, bytes], right: tuple[str, bytes, bytes]
) -> None:
    assert (mac_of(KEY, *left) == mac_of(KEY, *right)) == (left == right)


def test_mac__bytes_moved_from_key_to_value__do_not_verify() -> None:
    mac = mac_of(KEY, "t", b"ab", b"c")
    with pytest.raises(InvalidMessage, match="MAC_MISMATCH"):
        verify_mac((KEY,), received("t", b"a", b"bc", mac))


def test_mac__moved_to_another_topic__does_not_verify() -> None:
    with pytest.raises(InvalidMessage, match="MAC_MISMATCH"):
        verify_mac((KEY,), received("u", b"k", b"v", mac_of(KEY, "t", b"k", b"v")))


def test_mac__short_key__is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32"):
        mac_of(b"short", "t", b"", b"")


def test_mac__of_one_record__is_hmac_sha256_over_lengths_and_parts() -> None:
    text = bytes(7) + b"\x01t" + bytes(7) + b"\x01k" + bytes(7) + b"\x02vv"
    assert mac_of(KEY, "t", b"k", b"vv") == hmac.new(KEY, text, hashlib.sha256).digest()
