//! Memory for bodies on their way in, shared by all targets: an idle target holds none.

use std::sync::{Arc, Mutex, PoisonError};

/// Buffers that are kept for the next body.
const KEPT_MAX: usize = 16;

/// A buffer that grew beyond this is given back to the system.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// A pool of buffers. Clone freely.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// An empty buffer at first; goes back to its pool when dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(crate) bytes: Vec<u8>,
    pool: Buffers,
}

// === impl Buffers ===

impl Buffers {
    /// An empty buffer, used before if possible.
    pub(crate) fn take(&self) -> Buffer {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Buffer { bytes: kept.unwrap_or_default(), pool: self.clone() }
    }
}

// === impl Buffer ===

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() == 0 || bytes.capacity() > KEPT_BYTES_MAX {
            return;
        }
        bytes.clear();
        let mut kept = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_unless_they_are_too_large() {
        let pool = Buffers::default();
        let mut small = pool.take();
        small.bytes.extend_from_slice(b"page");
        let mut large = pool.take();
        large.bytes.reserve(KEPT_BYTES_MAX + 1);
        drop((small, large));
        let again = pool.take();
        assert!(again.bytes.is_empty() && again.bytes.capacity() > 0);
        assert_eq!(pool.take().bytes.capacity(), 0);
    }
}
