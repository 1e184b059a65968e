"""Sessions in which nothing is heard any more, by what rtpengine 10.5.3.5 has answered about real ones."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from edge.media.ghosts import heard, is_silent

ANSWERS = json.loads((Path(__file__).parent / "answers.json").read_text())


def last_packet(answer):
    streams = [s for side in answer["tags"].values() for media in side["medias"] for s in media["streams"]]
    return max(stream["last packet"] for stream in streams)


@pytest.mark.parametrize("kind", ["rtcp", "no rtcp", "refused video", "browser and phone"])
def test_a_call_is_silent_once_both_ends_are(kind):
    answer = ANSWERS[kind]
    last = last_packet(answer)
    assert heard(answer) == last
    assert not is_silent(answer, last + 59.9, 0.0, 60.0)
    assert is_silent(answer, last + 60.0, 0.0, 60.0)


@pytest.mark.parametrize(
    "kind", ["hold", "inactive", "0.0.0.0", "fax", "fax instead of audio", "relay as ICE candidate"]
)
def test_silence_means_nothing_where_nobody_has_to_talk_there(kind):
    assert heard(ANSWERS[kind]) is None
    assert not is_silent(ANSWERS[kind], 4e9, 0.0, 60.0)


def test_a_line_for_something_else_keeps_no_call():
    """Slides beside the audio (BFCP)."""
    answer = copy.deepcopy(ANSWERS["rtcp"])
    for side in answer["tags"].values():
        slides = copy.deepcopy(side["medias"][0])
        slides["type"] = "application"
        for stream in slides["streams"]:
            stream["last packet"] = 0
        side["medias"].append(slides)
    last = last_packet(answer)
    assert heard(answer) == last
    assert is_silent(answer, last + 60.0, 0.0, 60.0)


@pytest.mark.parametrize("side", ["ta", "="])
def test_one_end_alone_may_be_silent(side):
    answer = copy.deepcopy(ANSWERS["rtcp"])
    before = last_packet(answer)
    for stream in answer["tags"][side]["medias"][0]["streams"]:
        stream["last packet"] = before + 500
    assert not is_silent(answer, before + 510, 0.0, 60.0)
    assert is_silent(answer, before + 560, 0.0, 60.0)


def test_rtcp_alone_is_a_sign_of_life():
    answer = copy.deepcopy(ANSWERS["rtcp"])
    before = last_packet(answer)
    answer["tags"]["ta"]["medias"][0]["streams"][1]["last packet"] = before + 100
    assert not is_silent(answer, before + 120, 0.0, 60.0)


def test_a_new_description_has_time_to_begin_with():
    answer = copy.deepcopy(ANSWERS["no rtcp"])
    answer["last signal"] = last_packet(answer) + 100
    assert not is_silent(answer, answer["last signal"] + 59, 0.0, 60.0)


def test_who_takes_a_session_over_counts_from_his_own_start():
    answer = ANSWERS["no rtcp"]
    since = last_packet(answer) + 1000.0
    assert not is_silent(answer, since + 59, since, 60.0)
    assert is_silent(answer, since + 60, since, 60.0)


@pytest.mark.parametrize(
    "answer", [{}, {"result": "error", "error-reason": "Unknown call-id"}, {"tags": []}, {"tags": {"ta": {}, "=": {}}}]
)
def test_what_isnt_known_isnt_silent(answer):
    assert not is_silent(answer, 4e9, 0.0, 60.0)


def test_a_session_with_one_end_rings_yet():
    answer = copy.deepcopy(ANSWERS["no rtcp"])
    del answer["tags"]["="]
    assert not is_silent(answer, 4e9, 0.0, 60.0)
