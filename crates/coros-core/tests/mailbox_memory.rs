//! What a mailbox keeps after a burst of messages: next to nothing. Counted by an allocator, so
//! this program has one test, on one thread.
#![allow(clippy::unwrap_used)] // in what the tests call
#![allow(unsafe_code)] // an allocator cannot be written without

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use common::until;
use coros_core::{Categories, Context, Coro, spawn};

/// The system's allocator, and how many bytes are in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Relaxed);
        // SAFETY: as this method's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as this method's.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Message = [u64; 8];

const BURST: usize = 50_000;
/// What may be kept: a few pages for the buffers of an idle mailbox, and what the runtime keeps.
const KEPT: usize = 16 << 10;

fn plain(received: Arc<AtomicUsize>) -> Coro<Message, ()> {
    spawn(async move |mut me: Context<Message>| {
        while me.receive().await.is_some() {
            received.fetch_add(1, Relaxed);
        }
    })
}

fn many(received: Arc<AtomicUsize>) -> Coro<Message, ()> {
    spawn(async move |mut me: Context<Message>| {
        let mut batch = Vec::with_capacity(16);
        while me.receive_many(&mut batch, 16).await > 0 {
            received.fetch_add(batch.len(), Relaxed);
            batch.clear();
        }
    })
}

/// Passes over the whole burst before it takes it.
fn selective(received: Arc<AtomicUsize>) -> Coro<Message, ()> {
    spawn(async move |mut me: Context<Message>| {
        let last = BURST as u64 - 1;
        while me.receive_where(|it| it[0] == last).await.is_some() {
            received.fetch_add(1, Relaxed);
            for _ in 0..last {
                me.receive().await;
                received.fetch_add(1, Relaxed);
            }
        }
    })
}

fn by_category(received: Arc<AtomicUsize>) -> Coro<Message, ()> {
    spawn(async move |mut me: Context<Message>| {
        let last = BURST as u64 - 1;
        let mut categories = Categories::new(&mut me, move |it| it[0] == last);
        while categories.receive(&true).await.is_some() {
            received.fetch_add(1, Relaxed);
            for _ in 0..last {
                categories.receive(&false).await;
                received.fetch_add(1, Relaxed);
            }
        }
    })
}

#[tokio::test]
async fn a_burst_leaves_no_large_buffer_behind() {
    type Start = fn(Arc<AtomicUsize>) -> Coro<Message, ()>;
    let starts: [(&str, Start); 4] = [
        ("receive", plain),
        ("receive_many", many),
        ("receive_where", selective),
        ("Categories", by_category),
    ];
    for (way, start) in starts {
        let received = Arc::new(AtomicUsize::new(0));
        let coro = start(Arc::clone(&received));
        // It has begun, and waits.
        tokio::task::yield_now().await;
        let before = IN_USE.load(Relaxed);
        for round in 1..=3 {
            for n in 0..BURST as u64 {
                coro.send([n; 8]).unwrap();
            }
            let full = IN_USE.load(Relaxed) - before;
            assert!(full >= BURST * size_of::<Message>(), "{way}: it is queued");
            until(|| received.load(Relaxed) == round * BURST).await;
            // It may go to the end of the run queue a few times before it waits.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            let kept = IN_USE.load(Relaxed).saturating_sub(before);
            assert!(kept <= KEPT, "{way}: {kept} bytes are kept after {full}");
        }
    }
}
