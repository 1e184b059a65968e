"""Sessions as rtpengine 10.5.3.5 saves them: SRTP (SDES) towards one side, RTP towards the other, after two turns of
the sequence numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edge.media.copies import pack
from edge.media.saved_session import gist, may_encrypt, to_restore

SAVED = (Path(__file__).parent / "saved_sdes.json").read_bytes()


def changed(**parts: Any) -> bytes:
    session = json.loads(SAVED)
    for name, values in parts.items():
        session[name.replace("_", "-")].update(values)
    return json.dumps(session).encode()


def with_index(ahead: int, index: str = "out_srtp_index") -> bytes:
    """The session after so many more packets."""
    session = json.loads(SAVED)
    for name, table in session.items():
        for entry in table if name.startswith("ssrc_table-") else ():
            if entry[index] != "0":
                entry[index] = str(int(entry[index]) + ahead)
    return json.dumps(session).encode()


def plain() -> bytes:
    """As long as the engine hasn't encrypted anything."""
    session = json.loads(SAVED)
    for name, table in session.items():
        for entry in table if name.startswith("ssrc_table-") else ():
            entry.update(dict.fromkeys(("in_srtp_index", "out_srtp_index", "in_srtcp_index", "out_srtcp_index"), "0"))
    return json.dumps(session).encode()


def test_what_counts_is_told_from_what_passes():
    known = gist(SAVED)
    assert gist(changed(json={"last_signal": "9"})) == known
    assert gist(changed(stream_0={"last_packet": "9", "stats-packets": "12345"})) == known
    assert gist(changed(stream_0={"endpoint": "192.0.2.1:4000"})) != known
    assert gist(changed(media_1={"sdes_in-master_key": "x"})) != known
    assert gist(b"no session") != gist(b"another")


def test_srtp_that_has_gone_on_is_told_in_steps():
    """So a copy is never 32,768 packets old (RFC 3711 §3.3.1), and not told with every saving either."""
    told = [gist(with_index(packets)) for packets in range(0, 65_536, 512)]
    assert 8 <= len(set(told)) <= 18, "of two indexes, each of which has 8 steps in 65,536 packets"
    assert gist(with_index(8192)) != gist(SAVED)


def test_who_speaks_srtp_is_known_before_a_packet_was_counted():
    assert may_encrypt(SAVED)
    assert may_encrypt(plain())
    assert not may_encrypt(changed(media_1={"protocol": "RTP/AVP"}))
    assert may_encrypt(changed(media_1={"protocol": "UDP/TLS/RTP/SAVPF"}))


def test_what_passes_through_is_the_same_however_many_sources_speak():
    session = json.loads(plain())
    session["ssrc_table-0"].append({**session["ssrc_table-0"][0], "ssrc": "7"})
    assert gist(json.dumps(session).encode()) == gist(plain())
    assert to_restore(plain()) == plain()


def test_roll_over_counters_are_where_the_engine_looks_for_them():
    session = json.loads(SAVED)
    ended = {entry["ssrc"]: entry for entry in json.loads(to_restore(SAVED))["ssrc_table"]}
    for name, table in session.items():
        for entry in table if name.startswith("ssrc_table-") else ():
            for index in ("in_srtp_index", "out_srtp_index"):
                assert int(ended[entry["ssrc"]][index]) >= int(entry[index])
    assert sorted(int(entry["in_srtp_index"]) >> 16 for entry in ended.values()) == [0, 2]
    assert sorted(int(entry["out_srtp_index"]) >> 16 for entry in ended.values()) == [0, 2]
    assert {name: part for name, part in json.loads(to_restore(SAVED)).items() if name != "ssrc_table"} == session


def test_no_index_of_srtcp_is_used_twice():
    def with_srtcp(index: str) -> bytes:
        session = json.loads(SAVED)
        session["ssrc_table-0"][0]["out_srtcp_index"] = index
        return json.dumps(session).encode()

    table = json.loads(to_restore(with_srtcp("17")))["ssrc_table"]
    assert sorted(int(entry["out_srtcp_index"]) for entry in table) == [0, 17 + 4096]
    assert all(entry["out_srtcp_index"] == "0" for entry in json.loads(to_restore(with_srtcp("0")))["ssrc_table"])


def test_what_is_no_session_is_given_back_as_it_came():
    for data in (b"", b"[]", b"{", b"7", b'{"ssrc_table-0": [{"ssrc": "x"}]}', b'{"ssrc_table-0": 7}'):
        assert to_restore(data) == data
        assert not may_encrypt(data)
        assert gist(data) == gist(data)


def test_a_copy_of_two_sides_is_small():
    assert len(pack(SAVED)) < 2048
