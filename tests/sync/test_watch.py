from __future__ import annotations

from bentosync import events
from bentosync.sync.watch import Watch


def test_a_file_sent_again_from_its_start_never_counts_beyond_its_size() -> None:
    seen: list[events.Event] = []
    watch = Watch(seen.append, "push")
    watch.start("m:v1", "file:///r", files=2, total_bytes=15, reused_bytes=0)
    for path, size, count in [("a", 10, 5), ("b", 5, 5), ("a", 10, 5), ("a", 10, 5)]:
        watch.advance(path, size, count)
    steps = [(event.done_bytes, event.total_bytes) for event in seen if isinstance(event, events.Progress)]
    assert steps == [(5, 15), (10, 15), (15, 15), (15, 15)]
    assert [event.path for event in seen if isinstance(event, events.FileDone)] == ["b", "a"]
