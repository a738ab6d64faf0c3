"""Definitions as bytes: whatever a workflow holds comes back as it was, and nothing else comes out."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from statemachine_flow.errors import StoreError
from statemachine_flow.model import Definition
from statemachine_flow.snapshot import FORMAT, decode_definition, encode_definition
from tests.strategies.definitions import definitions

WHOLE_WORKFLOWS = settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow], deadline=None)


@WHOLE_WORKFLOWS
@given(definitions())
def test_what_was_encoded_is_decoded_as_the_same_workflow(definition: Definition) -> None:
    decoded = decode_definition(encode_definition(definition))

    assert decoded == definition
    assert decoded.content_hash == definition.content_hash


@WHOLE_WORKFLOWS
@given(definitions(), st.data())
def test_a_changed_byte_is_found(definition: Definition, data: st.DataObject) -> None:
    encoded = bytearray(encode_definition(definition))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))

    if place == 0 and encoded[0] < FORMAT:
        return  # an older form, which is read
    with pytest.raises(StoreError) as caught:
        decode_definition(bytes(encoded), run="r")
    assert caught.value.kind == ("store.newer" if encoded[0] > FORMAT else "store.corrupt")
