//! What listeners get, in which order, and what slow ones cost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

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

// === listeners whose connection the group writes to ===

/// Counts how often a listener is told to look.
struct Knocks(AtomicUsize);

impl std::task::Wake for Knocks {
    fn wake(self: Arc<Knocks>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A listener with a connection, as the HTTP layer and as its peer see that.
struct Wired {
    watcher: Watcher,
    plug: kit::Plug,
    peer: TcpStream,
    knocks: Arc<Knocks>,
}

impl Wired {
    /// Listens, waits, and has nothing under way.
    async fn new(stage: &Stage) -> Wired {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (outlet, plug) = Outlet::split(listener.accept().await.unwrap().0);
        let mut watcher = stage.watch_all();
        watcher.plug_in(outlet);
        let knocks = Arc::new(Knocks(AtomicUsize::new(0)));
        let mut wired = Wired { watcher, plug, peer, knocks };
        wired.wait();
        wired.plug.flush().await.unwrap();
        wired
    }

    fn wait(&mut self) {
        let waker = Waker::from(Arc::clone(&self.knocks));
        assert!(self.watcher.poll_next(&mut Context::from_waker(&waker)).is_pending());
    }

    async fn hears(&mut self, want: &str) {
        let mut got = vec![0; want.len()];
        self.peer.read_exact(&mut got).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&got), want);
    }

    async fn is_knocked(&self) {
        while self.knocks.0.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_listener_that_waits_is_written_to_and_need_not_look() {
    let mut stage = Stage::new(99);
    let (mut one, mut other) = (Wired::new(&stage).await, Wired::new(&stage).await);
    stage.happen("a");
    one.hears("4\r\n101 \r\n").await;
    other.hears("4\r\n101 \r\n").await;
    stage.happen("b");
    stage.happen("c");
    one.hears("8\r\n102 103 \r\n").await;
    assert_eq!(one.knocks.0.load(Ordering::Relaxed), 0);
    assert_eq!(stage.looks.load(Ordering::Relaxed), 3, "each event once for all");
    // Something else has woken it: it goes on where its group has brought it.
    assert_eq!(read(&mut one.watcher), "");
    assert_eq!(one.watcher.version(), ResourceVersion(103));
}

#[tokio::test]
async fn a_listener_with_something_under_way_looks_for_itself() {
    let mut stage = Stage::new(99);
    let mut wired = Wired::new(&stage).await;
    wired.wait();
    stage.happen("a");
    wired.is_knocked().await;
    assert_eq!(read(&mut wired.watcher), "101 ");
    wired.wait();
    wired.plug.write_all(b"[101]").await.unwrap();
    wired.plug.flush().await.unwrap();
    stage.happen("b");
    wired.hears("[101]4\r\n102 \r\n").await;
}

#[tokio::test]
async fn nothing_is_written_to_a_listener_that_has_gone() {
    let mut stage = Stage::new(99);
    let (mut gone, mut stays) = (Wired::new(&stage).await, Wired::new(&stage).await);
    drop(gone.watcher);
    stage.happen("a");
    stays.hears("4\r\n101 \r\n").await;
    gone.plug.shutdown().await.unwrap();
    let mut got = Vec::new();
    gone.peer.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"");
}

#[tokio::test]
async fn an_end_and_what_came_before_it_go_through_the_listener() {
    let mut stage = Stage::new(99);
    let mut wired = Wired::new(&stage).await;
    stage.happen("a");
    stage.hub.end(End::Clean);
    wired.is_knocked().await;
    assert_eq!(read(&mut wired.watcher), "101 .");
}

#[tokio::test]
async fn a_pass_tells_nobody_of_what_the_log_has_forgotten() {
    let mut stage = Stage::new(4);
    let mut wired = Wired::new(&stage).await;
    (0..9).for_each(|_| stage.happen("a"));
    wired.is_knocked().await;
    assert_eq!(read(&mut wired.watcher), "!");
}
