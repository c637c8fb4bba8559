//! The snapshot that packets are answered from, and those that were.
//!
//! Whoever lets go of a snapshot last frees it, and with a million claims in it that takes as long as thousands of answers.
//! So a snapshot that was replaced is kept here until no packet is being answered from it any more, and is freed by who
//! publishes the next one.
//!
//! **Invariant:** a thread that answers never frees a snapshot: this side holds a count of each until it has the last.
//! What is kept is bounded by those who look: each snapshot here is one that somebody still holds.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::Snapshot;

/// What is answered from now. Only its owner replaces it.
pub struct Current<T = Snapshot> {
    now: Arc<ArcSwap<T>>,
    retired: Vec<Arc<T>>,
}

impl<T> Current<T> {
    /// With a first one.
    pub fn new(first: T) -> Self {
        Self { now: Arc::new(ArcSwap::from_pointee(first)), retired: Vec::new() }
    }

    /// For those who answer from it: [`Handler::new`](crate::Handler::new).
    pub fn shared(&self) -> Arc<ArcSwap<T>> {
        self.now.clone()
    }

    /// Replaces it, and frees those before it that nobody looks at any more.
    pub fn publish(&mut self, next: T) {
        // Whoever looks at the old one without having counted gets a count of his own in this exchange; no more can come.
        self.retired.push(self.now.swap(Arc::new(next)));
        self.retired.retain(|old| Arc::strong_count(old) > 1);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Barrier};
    use std::thread::{self, ThreadId};

    use super::Current;

    /// Notes by whom it was freed.
    struct Freed {
        by: Arc<[AtomicUsize; 2]>,
        owner: ThreadId,
    }

    impl Drop for Freed {
        fn drop(&mut self) {
            self.by[usize::from(thread::current().id() != self.owner)].fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_looks_last_does_not_free() {
        let by: Arc<[AtomicUsize; 2]> = Arc::default();
        let freed = || Freed { by: by.clone(), owner: thread::current().id() };
        let mut current = Current::new(freed());
        let shared = current.shared();
        let (looks, replaced) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let answering = thread::spawn({
            let (looks, replaced) = (looks.clone(), replaced.clone());
            move || {
                let held = shared.load();
                looks.wait();
                replaced.wait();
                drop(held);
            }
        });
        looks.wait();
        current.publish(freed());
        assert_eq!(current.retired.len(), 1, "somebody looks at it");
        replaced.wait();
        answering.join().unwrap();
        assert_eq!(by.each_ref().map(|count| count.load(Ordering::Relaxed)), [0, 0], "kept until the next one");
        current.publish(freed());
        assert_eq!(by.each_ref().map(|count| count.load(Ordering::Relaxed)), [2, 0]);
    }

    #[test]
    fn all_are_freed_by_who_publishes() {
        const PUBLISHED: usize = 20_000;
        let by: Arc<[AtomicUsize; 2]> = Arc::default();
        let freed = || Freed { by: by.clone(), owner: thread::current().id() };
        let mut current = Current::new(freed());
        let stop = Arc::new(AtomicBool::new(false));
        let answering: Vec<_> = (0..3)
            .map(|_| {
                let (shared, stop) = (current.shared(), stop.clone());
                thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::black_box(&*shared.load());
                    }
                })
            })
            .collect();
        for _ in 0..PUBLISHED {
            current.publish(freed());
            assert!(current.retired.len() <= answering.len(), "each is held by somebody");
        }
        stop.store(true, Ordering::Relaxed);
        answering.into_iter().for_each(|thread| thread.join().unwrap());
        current.publish(freed());
        assert_eq!(by.each_ref().map(|count| count.load(Ordering::Relaxed)), [PUBLISHED + 1, 0]);
    }
}
