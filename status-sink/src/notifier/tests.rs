//! What listeners get, in which order, and what slow ones cost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use super::*;
use crate::event_log::Cause;
use crate::object::{LabelSet, Object};

/// Writes `+1 `, `~1 `, `-1 ` (the version's last digits) for the objects that it wants.
struct Words {
    identity: String,
    /// Only objects of this name.
    name: Option<&'static str>,
    is_pinned: bool,
    looks: Arc<AtomicUsize>,
}

struct Stage {
    hub: Arc<Hub>,
    listeners: Arc<Listeners>,
    version: u64,
    looks: Arc<AtomicUsize>,
}

fn object(name: &str) -> Arc<Object> {
    Arc::new(Object {
        key: Key::new("", name),
        version: ResourceVersion(0),
        uid: 0,
        created_s: 0,
        generation: 1,
        labels: LabelSet::default(),
        fields: Box::default(),
        conditions: None,
        extra: None,
    })
}

impl View for Words {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn write(&self, event: &Event, out: &mut Vec<u8>) {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let object = event.new.as_ref().or(event.old.as_ref()).expect("an event has an object");
        if self.name.is_none_or(|name| object.name() == name) {
            out.extend_from_slice(format!("{} ", event.version.0).as_bytes());
        }
    }

    fn pins(&self) -> Option<Vec<Pin>> {
        self.is_pinned.then(|| vec![Pin::Key(Key::new("", self.name.expect("a pinned name")))])
    }
}

impl Stage {
    fn new(events_max: usize) -> Stage {
        let listeners = Listeners::new(1000);
        let hub = Hub::new(ResourceVersion(100), events_max, Arc::clone(&listeners));
        Stage { hub, listeners, version: 100, looks: Arc::default() }
    }

    fn watch_all(&self) -> Watcher {
        self.watch(100, None, false)
    }

    fn watch(&self, version: u64, name: Option<&'static str>, is_pinned: bool) -> Watcher {
        let identity = format!("{name:?} {is_pinned}");
        let view = Words { identity, name, is_pinned, looks: Arc::clone(&self.looks) };
        self.hub.watch(ResourceVersion(version), Arc::new(view)).expect("there is room")
    }

    fn happen(&mut self, name: &str) {
        self.version += 1;
        let version = ResourceVersion(self.version);
        let new = Some(object(name));
        let event = Event { version, old: None, new, cause: Cause::Api, unix_ms: 0 };
        self.hub.publish(event, &mut Woken::default());
    }
}

/// Everything there is for a listener now; `!` for gone, `.` for the end.
fn read(watcher: &mut Watcher) -> String {
    let mut cx = Context::from_waker(Waker::noop());
    let mut text = String::new();
    loop {
        match watcher.poll_next(&mut cx) {
            Poll::Pending => return text,
            Poll::Ready(Step::Frames(bytes)) => text += std::str::from_utf8(&bytes).unwrap(),
            Poll::Ready(Step::Gone) => return text + "!",
            Poll::Ready(Step::Ended) => return text + ".",
        }
    }
}

#[test]
fn every_listener_gets_every_event_once_and_in_order() {
    let mut stage = Stage::new(99);
    let mut early = stage.watch_all();
    stage.happen("a");
    stage.happen("b");
    let mut late = stage.watch(101, None, false);
    assert_eq!(read(&mut early), "101 102 ");
    assert_eq!(read(&mut late), "102 ");
    stage.happen("c");
    assert_eq!(read(&mut late), "103 ");
    assert_eq!(read(&mut early), "103 ");
    assert_eq!(read(&mut early), "");
    assert_eq!(early.version(), ResourceVersion(103));
}

#[test]
fn listeners_with_equal_views_share_the_work() {
    let mut stage = Stage::new(99);
    let mut watchers: Vec<Watcher> = (0..40).map(|_| stage.watch_all()).collect();
    for _ in 0..10 {
        stage.happen("a");
    }
    for watcher in &mut watchers {
        assert_eq!(read(watcher).split_whitespace().count(), 10);
    }
    assert_eq!(stage.looks.load(Ordering::Relaxed), 10);
}

#[test]
fn a_listener_that_starts_in_the_middle_of_what_is_kept_gets_only_what_follows() {
    let mut stage = Stage::new(99);
    let mut first = stage.watch_all();
    for _ in 0..5 {
        stage.happen("a");
    }
    assert_eq!(read(&mut first), "101 102 103 104 105 ");
    let mut second = stage.watch(103, None, false);
    assert_eq!(read(&mut second), "104 105 ");
}

#[test]
fn a_slow_listener_is_told_gone_and_the_others_are_not() {
    let mut stage = Stage::new(4);
    let (mut slow, mut quick) = (stage.watch_all(), stage.watch_all());
    stage.happen("a");
    assert_eq!(read(&mut slow), "101 ");
    for _ in 0..9 {
        stage.happen("a");
        assert_eq!(read(&mut quick).split_whitespace().last(), Some(&*stage.version.to_string()));
    }
    // What was written for the others is still there.
    assert_eq!(read(&mut slow).split_whitespace().count(), 9);

    let mut alone = stage.watch(stage.version, Some("b"), false);
    for _ in 0..9 {
        stage.happen("b");
    }
    assert_eq!(read(&mut alone), "!");
    assert_eq!(stage.listeners.gone(), 1);
}

#[test]
fn a_pinned_view_looks_only_at_what_may_concern_it() {
    let mut stage = Stage::new(8);
    let mut pinned = stage.watch(100, Some("b"), true);
    let mut other = stage.watch(100, Some("b"), true);
    assert_eq!(read(&mut pinned), "");
    for _ in 0..50 {
        stage.happen("a");
    }
    assert_eq!(stage.looks.load(Ordering::Relaxed), 0);
    stage.happen("b");
    stage.happen("a");
    assert_eq!(read(&mut pinned), "151 ");
    assert_eq!(pinned.version(), ResourceVersion(152));
    assert_eq!(read(&mut other), "151 ");
    assert_eq!(stage.looks.load(Ordering::Relaxed), 1);
    for _ in 0..50 {
        stage.happen("b");
    }
    assert_eq!(read(&mut pinned), "!");
}

#[test]
fn those_who_wait_are_woken_by_what_concerns_them() {
    struct Count(AtomicUsize);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Count>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let mut stage = Stage::new(99);
    let woken = |count: &Arc<Count>| count.0.load(Ordering::Relaxed);
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    let mut all = stage.watch_all();
    let mut pinned = stage.watch(100, Some("b"), true);
    for watcher in [&mut all, &mut pinned] {
        assert_eq!(watcher.poll_next(&mut Context::from_waker(&waker)), Poll::Pending);
    }
    stage.happen("a");
    assert_eq!(woken(&count), 1);
    stage.happen("a");
    assert_eq!(woken(&count), 1, "who was woken has to come back first");
    stage.happen("b");
    assert_eq!(woken(&count), 2);
    drop(all);
    stage.happen("b");
    assert_eq!(woken(&count), 2);
}

#[test]
fn an_end_comes_after_what_was_still_to_be_told() {
    let mut stage = Stage::new(99);
    let mut watcher = stage.watch_all();
    stage.happen("a");
    stage.hub.end(End::Clean);
    assert_eq!(read(&mut watcher), "101 .");
    let view = Words { identity: "x".into(), name: None, is_pinned: false, looks: Arc::default() };
    let late = stage.hub.watch(ResourceVersion(101), Arc::new(view));
    assert_eq!(late.unwrap_err(), WatchError::Ended);
}

#[test]
fn there_are_no_more_listeners_than_allowed() {
    let stage = Stage::new(9);
    stage.listeners.set_max(2);
    let watchers = [stage.watch_all(), stage.watch_all()];
    let view = Words { identity: "x".into(), name: None, is_pinned: false, looks: Arc::default() };
    let third = stage.hub.watch(ResourceVersion(100), Arc::new(view));
    assert_eq!(third.unwrap_err(), WatchError::TooMany { max: 2 });
    drop(watchers);
    assert_eq!(stage.listeners.open(), 0);
    drop(stage.watch_all());
}

#[test]
fn a_version_that_was_never_here_is_gone() {
    let mut stage = Stage::new(9);
    stage.happen("a");
    for version in [0, 99, 102] {
        let view =
            Words { identity: "x".into(), name: None, is_pinned: false, looks: Arc::default() };
        let asked = stage.hub.watch(ResourceVersion(version), Arc::new(view));
        assert_eq!(asked.unwrap_err(), WatchError::Gone(Gone));
    }
}
