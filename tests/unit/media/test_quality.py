"""How well the ends of a session hear each other, by what rtpengine 10.5.3.5 has answered about real ones."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path

from edge.media.orders import MediaReply, SideQuality
from edge.media.quality import SessionQuality, count

ANSWERS = json.loads((Path(__file__).parent / "answers.json").read_text())


def noted(*answers):
    """The quality after these, each with the time it came at after the last packet."""
    quality = SessionQuality()
    for answer, after in answers:
        quality.note(answer, last_packet(answer) + after)
    return quality


def last_packet(answer):
    streams = [s for side in answer["tags"].values() for media in side["medias"] for s in media["streams"]]
    return max((stream["last packet"] for stream in streams), default=0)


def changed(kind, packets=0, ssrc=0, side="ta"):
    answer = copy.deepcopy(ANSWERS[kind])
    stream = answer["tags"][side]["medias"][0]["streams"][0]
    stream["stats"]["packets"] = packets
    stream["SSRC"] = ssrc
    return answer


def test_what_an_end_tells_by_rtcp_is_about_what_has_come_to_it():
    quality = noted((ANSWERS["rtcp"], 0))
    assert quality.of("ta") == SideQuality(packets=400, gap=0.0, lost=39, jitter=10.0, mos=3.5)
    assert quality.of("=") == SideQuality(packets=360, gap=0.0, lost=0, jitter=2.0, mos=4.3)


def test_without_rtcp_there_are_packets_and_the_longest_gap():
    quality = noted((ANSWERS["no rtcp"], 1), (ANSWERS["no rtcp"], 17), (ANSWERS["no rtcp"], 5))
    assert quality.of("ta") == SideQuality(packets=400, gap=17.0)
    assert quality.of("=") == SideQuality(packets=360, gap=17.0)


def test_nobody_is_missed_who_neednt_talk():
    held = copy.deepcopy(ANSWERS["no rtcp"])
    for side in held["tags"].values():
        side["medias"][0]["flags"] = ["initialized", "send"]
    assert noted((held, 500)).of("ta").gap == 0.0


def test_who_hasnt_begun_isnt_missed_yet():
    assert noted((ANSWERS["browser and phone"], 30)).of("ta") == SideQuality(0, 0.0)


def test_counters_that_begin_again_are_added():
    first, second = changed("rtcp", 400, 43690), changed("rtcp", 30, 43690)
    assert noted((first, 0), (second, 0), (changed("rtcp", 50, 43690), 0)).of("ta").packets == 450


def test_several_sources_of_one_end_are_added():
    second = changed("rtcp", 500, 77)
    second["SSRC"] = {"77": copy.deepcopy(ANSWERS["rtcp"]["SSRC"]["48059"])}
    second["SSRC"]["77"]["cumulative loss"] = 4
    second["tags"]["ta"]["medias"][0]["streams"][1]["SSRC"] = 77
    side = noted((ANSWERS["rtcp"], 0), (second, 0)).of("ta")
    assert (side.packets, side.lost) == (500, 43)
    assert (side.jitter, side.mos) == (7.3, 3.8)  # two samples of 10 ms and 3.5, one of 2 ms and 4.3


def test_an_end_whose_loss_is_told_without_a_round_trip_has_no_mos():
    answer = copy.deepcopy(ANSWERS["rtcp"])
    answer["SSRC"]["43690"]["average MOS"] = {}
    assert noted((answer, 0)).of("ta") == SideQuality(400, 0.0, lost=39)


def test_of_whom_nothing_is_known_nothing_is_said():
    assert noted(({"result": "ok", "tags": {}}, 0)).of("ta") == SideQuality(0, 0.0)


def test_the_metrics_are_sums_by_those_who_have_told():
    counters = Counter()
    for side in (SideQuality(400, 0.0, 39, 10.4, 3.5), SideQuality(360, 0.0, 1, 2.0, 4.3), SideQuality(5, 1.0)):
        count(side, counters)
    assert counters == {
        "media_packets": 765,
        "media_sides_told": 2,
        "media_sides_poor": 1,
        "media_packets_lost": 40,
        "media_jitter_ms": 12,
        "media_mos_tenths": 78,
    }


def test_it_crosses_the_mesh():
    reply = MediaReply(None, quality=(SideQuality(400, 2.5, 39, 10.4, 3.5), SideQuality(5, 1.0)))
    assert MediaReply.unpack(reply.pack()) == reply
