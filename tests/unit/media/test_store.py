"""The nine commands that an engine keeps its sessions by, as rtpengine 10.5.3.5 gives them."""

from __future__ import annotations

from edge.media.store import OK, CommandRefused, SessionChange, SessionStore
from tests.unit.media.test_saved_session import SAVED, changed, with_index

MAIN, HELPERS = 1, (2, 3)


def tell(store: SessionStore, connection: int, *words: str | bytes) -> object:
    return store.answer(connection, [word.encode() if isinstance(word, str) else word for word in words])


def start(store: SessionStore, refused: tuple[str, ...] = (), connections: tuple[int, ...] = (MAIN, *HELPERS)) -> None:
    """An engine starts: as seen, in this order."""
    main, *helpers = connections
    store.opened(main)
    assert tell(store, main, "SELECT", "0") == OK
    assert b"role:master" in tell(store, main, "INFO")
    assert tell(store, main, "TYPE", "calls") == "none"
    assert tell(store, main, "PING") == "PONG"
    names = tell(store, main, "KEYS", "*")
    for helper in helpers:
        store.opened(helper)
        assert tell(store, helper, "INFO")
    for name in names:
        assert tell(store, helpers[0], "GET", name)
        if name.decode() in refused:
            for _ in range(2):  # it does so twice
                assert tell(store, main, "DEL", name) == 1
    assert store.restoring
    for helper in helpers:
        store.closed(helper)
    assert not store.restoring


def test_a_session_is_saved_and_found_and_deleted():
    store = SessionStore({})
    start(store)
    assert tell(store, MAIN, "SET", "one", SAVED) == OK
    assert tell(store, MAIN, "EXPIRE", "one", "86400") == 1
    assert store.take_changed() == [SessionChange("one", SAVED)]
    assert tell(store, MAIN, "DEL", "one") == 1
    assert tell(store, MAIN, "DEL", "one") == 0
    assert tell(store, MAIN, "GET", "one") is None
    assert store.take_changed() == [SessionChange("one", b"")]
    assert len(store) == 0


def test_nothing_is_deleted_until_a_restore_is_over():
    store = SessionStore({"one": SAVED, "two": SAVED})
    start(store, refused=("one", "two"))
    assert store.refused == {"one", "two"}
    assert len(store) == 2
    # Started anew once its address is there, it finds them.
    store.closed(MAIN)
    start(store, connections=(4, 5))
    assert store.refused == set()
    assert len(store) == 2


def test_what_could_not_be_restored_is_dropped_in_the_end():
    store = SessionStore({"one": SAVED, "two": SAVED})
    start(store, refused=("two",))
    assert store.drop_refused() == 1
    assert list(store.saved()) == ["one"]
    assert store.take_changed() == [SessionChange("two", b"")]


def test_an_engine_that_dies_while_it_restores_deletes_nothing():
    store = SessionStore({"one": SAVED})
    store.opened(MAIN)
    tell(store, MAIN, "KEYS", "*")
    store.opened(HELPERS[0])
    tell(store, MAIN, "DEL", "one")
    store.closed(HELPERS[0])
    store.closed(MAIN)
    assert not store.restoring
    assert len(store) == 1


def test_what_an_engine_saves_again_unchanged_is_told_nobody():
    store = SessionStore({"one": SAVED})
    start(store)
    tell(store, MAIN, "SET", "one", changed(stream_0={"last_packet": "9"}))
    assert store.take_changed() == []
    moved = changed(stream_0={"endpoint": "192.0.2.1:4000"})
    tell(store, MAIN, "SET", "one", moved)
    tell(store, MAIN, "SET", "one", moved)
    assert store.take_changed() == [SessionChange("one", moved)]
    tell(store, MAIN, "SET", "one", with_index(9000))
    assert [change.name for change in store.take_changed()] == ["one"]


def test_what_is_over_is_known_once_all_has_been_saved():
    """After this process has started anew: nobody was there to be told."""
    store = SessionStore({"one": SAVED, "two": SAVED})
    store.expect_all()
    tell(store, MAIN, "SET", "one", SAVED)
    tell(store, MAIN, "SET", "three", SAVED)
    store.drop_unseen()
    assert sorted(store.saved()) == ["one", "three"]
    store.drop_unseen()
    assert sorted(store.saved()) == ["one", "three"]


def test_whether_there_is_srtp_is_known():
    store = SessionStore({})
    tell(store, MAIN, "SET", "one", SAVED)
    assert store.may_encrypt
    tell(store, MAIN, "DEL", "one")
    assert not store.may_encrypt


def test_other_commands_are_refused():
    store = SessionStore({})
    for words in (("FLUSHALL",), ("CONFIG", "GET", "*"), ("SET", "one"), ("GET",), ("DEL", "a", "b")):
        assert isinstance(tell(store, MAIN, *words), CommandRefused)
