//! How many files may be open: as many as the system lets us have, as Go programs do. A child has
//! what we had: there are programs that look at each file that may be open.

use std::sync::OnceLock;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

/// What there was before it was raised.
static BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit to the hard one. Where that is refused, things go on with what there is.
pub fn raise() {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        let _raised_once = BEFORE.set(before);
    }
}

/// Gives a child that was just started the limit that there was before.
pub fn restore_for(child: Option<u32>) {
    let child = child.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let (Some(child), Some(before)) = (child, BEFORE.get()) {
        let _it_may_have_ended = prlimit(Some(child), Resource::Nofile, *before);
    }
}
