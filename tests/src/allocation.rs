//! How much memory a piece of work holds at most, told by the allocator itself.
//!
//! Bytes are counted for each thread apart, so that tests which run at the same time do not meet. What is measured therefore
//! runs [`alone`], on one thread that does rayon's work too: a buffer that one thread takes and another gives back would be
//! counted as less than nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, with a count.
pub struct Counting;

fn count(bytes: isize) {
    // A thread that is ending has no counters any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: every call is handed to the system's allocator as it came; counting allocates nothing, since both counters are
// constants of their type at the start and have no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// What `run` returns, and the most bytes that this thread held meanwhile beyond what it held before.
pub fn most_held<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let value = run();
    (value, usize::try_from(MOST.get() - before).unwrap_or(0))
}

/// Runs `work` on a thread that is all of rayon's pool, so that every allocation is counted there. A thread of its own: one
/// that has been a pool's never leaves it.
pub fn alone<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let all = || {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
        pool.expect("a pool of this thread").install(work)
    };
    std::thread::scope(|scope| scope.spawn(all).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[test]
fn what_is_held_at_most_is_told() {
    let (kept, most) = most_held(|| {
        drop(vec![1u8; 3 << 20]);
        vec![1u8; 1 << 20]
    });
    assert!((3 << 20..(3 << 20) + 10_000).contains(&most), "{most}");
    let (_, after) = most_held(|| drop(kept));
    assert_eq!(after, 0);
}

#[test]
fn what_a_pool_takes_is_counted_on_a_thread_that_is_alone() {
    use rayon::prelude::*;
    let megabytes = |count: usize| {
        alone(move || {
            most_held(|| (0..count).into_par_iter().map(|_| vec![1u8; 1 << 20]).collect::<Vec<_>>()).1
        })
    };
    let (one, eight) = (megabytes(1), megabytes(8));
    assert!((1 << 20..(1 << 20) + 10_000).contains(&one), "{one}");
    assert!((8 << 20..(8 << 20) + 10_000).contains(&eight), "{eight}");
}
