"""What an edge keeps for a start in the dark."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from edge.control.store import StateStore

KEY = bytes(range(32))


def test_values_come_back_and_are_not_readable_on_the_disk(tmp_path):
    path = tmp_path / "state" / "kept.sqlite"
    store = StateStore(path, KEY)
    assert store.keep("record", [("alice", b"a secret hash"), ("bob", b"another one")])
    assert store.keep("record", [("bob", b"")])
    store.close()
    for file in path.parent.iterdir():
        assert b"secret" not in file.read_bytes()
    assert path.stat().st_mode & 0o077 == 0
    again = StateStore(path, KEY)
    assert again.load("record") == [("alice", b"a secret hash")]
    assert again.load("news") == []
    again.close()


def test_another_key_reads_nothing_and_breaks_nothing(tmp_path):
    path = tmp_path / "kept.sqlite"
    store = StateStore(path, KEY)
    store.keep("record", [("alice", b"x")])
    store.close()
    other = StateStore(path, bytes(32))
    assert other.load("record") == []
    other.close()


def test_a_value_cannot_be_moved_to_another_name(tmp_path):
    store = StateStore(tmp_path / "kept.sqlite", KEY)
    store.keep("record", [("alice", b"x")])
    store._database.execute("UPDATE kept SET name = 'bob'")
    assert store.load("record") == []
    store.close()


def test_a_broken_file_is_put_aside(tmp_path):
    path = tmp_path / "kept.sqlite"
    path.write_bytes(b"no database at all" * 500)
    store = StateStore(path, KEY)
    assert store.keep("record", [("alice", b"x")])
    assert store.load("record") == [("alice", b"x")]
    store.close()
    assert (tmp_path / "kept.unreadable").exists()


def test_several_threads_write_side_by_side(tmp_path):
    """Each has a transaction: all of its values are kept, whatever the others do."""
    store = StateStore(tmp_path / "kept.sqlite", KEY)
    kinds = [f"kind{number}" for number in range(4)]
    values = [(str(number), b"x") for number in range(50)]

    def keep(kind: str) -> list[bool]:
        return [store.keep(kind, values) for _ in range(20)]

    with ThreadPoolExecutor(len(kinds)) as threads:
        assert all(all(kept) for kept in threads.map(keep, kinds))
    for kind in kinds:
        assert len(store.load(kind)) == 50
    store.close()
