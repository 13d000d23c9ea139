//! Connections between two nodes that are cut, stalled or changed anywhere: neither side hangs,
//! nothing is left of them, and what comes is what was sent.

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::kept::Kept;
use common::meddler::{Harm, Meddler, Of};
use common::*;
use coros_core::{Address, Context, Reply};
use coros_net::{Node, Secret};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

/// Shorter than the default, since some of the connections last as long as that.
const HANDSHAKE: Duration = Duration::from_millis(500);
const SILENCE: Duration = Duration::from_millis(500);
/// What neither side may exceed, on a machine that does other things too.
const AT_MOST: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
struct Question(u32, [u8; 32], Reply<(u32, [u8; 32])>);

/// A node that answers, and the address of what answers as others get it.
struct Farm {
    secret: Secret,
    node: Node,
    asked: AtomicU32,
    answering: Address<Question>,
}

impl Farm {
    async fn set() -> Self {
        let secret = Secret::random();
        let node = impatient("farm", &secret).await;
        let coro = coros_core::spawn(async |mut me: Context<Question>| {
            let mut came = HashSet::new();
            // If it panics, the conversation that each test ends with fails.
            while let Some(Question(n, text, reply)) = me.receive().await {
                assert_eq!(text, words(n), "nothing else is ever sent");
                assert!(came.insert(n), "{n} came twice");
                reply.send((n, text));
            }
        });
        Farm {
            secret,
            node,
            asked: AtomicU32::new(0),
            answering: coro.address(),
        }
    }

    /// A new node dials through the meddler and asks so many questions: how many were answered.
    async fn visited(&self, through: &Meddler, questions: u32) -> Visit {
        let desk = impatient("desk", &self.secret).await;
        let linked = tokio::time::timeout(AT_MOST, desk.connect(through.endpoint)).await;
        let mut answered = 0;
        let linked = linked.expect("no dial lasts longer than its limit");
        if linked.is_ok() {
            let there = sent(&self.node, &desk, &self.answering);
            for _ in 0..questions {
                let n = self.asked.fetch_add(1, Ordering::Relaxed);
                let asked = there.ask_timeout(AT_MOST, |reply| Question(n, words(n), reply));
                match asked.await {
                    Ok(answer) => assert_eq!(answer, (n, words(n))),
                    Err(error) => {
                        assert!(!error.to_string().contains("within"), "{error}");
                        break;
                    }
                }
                answered += 1;
            }
        }
        Visit {
            desk,
            linked: linked.is_ok(),
            answered,
        }
    }

    /// Waits until nothing is left of all who came; those who come now are answered.
    async fn is_as_before(&self, before: Kept) {
        whole(self, 1).await;
        before.again_by(&self.node).await;
    }
}

async fn impatient(name: &str, secret: &Secret) -> Node {
    let node = builder(name, secret).handshake_limit(HANDSHAKE);
    // What is left of a link is looked for at once.
    let node = node.silence(SILENCE).grace(Duration::ZERO);
    node.build().await.expect("it starts")
}

fn words(n: u32) -> [u8; 32] {
    std::array::from_fn(|index| (n as u8).wrapping_mul(31) ^ index as u8)
}

/// What became of a visit by a node that is still there.
struct Visit {
    desk: Node,
    linked: bool,
    /// How many questions; over a new link, if the first was lost between two of them.
    answered: u32,
}

/// How much each side says in a whole conversation without harm.
async fn whole(farm: &Farm, questions: u32) -> [Vec<u8>; 2] {
    let meddler = Meddler::between(endpoint(&farm.node), Of::Dialler, Harm::None);
    let meddler = meddler.await;
    let visit = farm.visited(&meddler, questions).await;
    assert_eq!(visit.answered, questions);
    visit.desk.close().await;
    soon(meddler.over()).await;
    [Of::Dialler, Of::Dialled].map(|of| meddler.seen(of))
}

/// Cuts the bytes of one side after each number of them that there can be.
async fn cut_anywhere(of: Of) {
    let farm = Farm::set().await;
    let length = whole(&farm, 1).await[of as usize].len();
    assert!(length > 800, "{length} bytes have a certificate in them");
    let before = Kept::at_rest(&farm.node).await;
    let mut answered = 0;
    for cut in 0..length {
        let meddler = Meddler::between(endpoint(&farm.node), of, Harm::Cut(cut)).await;
        let begun = Instant::now();
        let visit = farm.visited(&meddler, 1).await;
        visit.desk.close().await;
        assert!(
            begun.elapsed() < AT_MOST,
            "after {cut} of {length} bytes: {:?}",
            begun.elapsed()
        );
        assert!(!visit.linked || cut > length / 2, "{cut} of {length}");
        answered += visit.answered;
    }
    // With the last words, which are no part of the conversation.
    assert!(answered < length as u32 / 4, "{answered} of {length}");
    farm.is_as_before(before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dialler_that_is_cut_off_anywhere_harms_nobody() {
    cut_anywhere(Of::Dialler).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dialled_node_that_is_cut_off_anywhere_harms_nobody() {
    cut_anywhere(Of::Dialled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_stands_still_ends_on_both_sides_within_its_limit() {
    let farm = Arc::new(Farm::set().await);
    let lengths = whole(&farm, 1).await.map(|bytes| bytes.len());
    let before = Kept::at_rest(&farm.node).await;
    let mut visits = JoinSet::new();
    for of in [Of::Dialler, Of::Dialled] {
        for at in (0..lengths[of as usize]).step_by(23) {
            let farm = Arc::clone(&farm);
            visits.spawn(async move {
                let meddler = Meddler::between(endpoint(&farm.node), of, Harm::Stall(at)).await;
                farm.visited(&meddler, 1).await.desk.close().await;
                // The other side ends by itself, too.
                soon(meddler.over()).await;
            });
            if visits.len() > 16 {
                visits.join_next().await.expect("there is one").unwrap();
            }
        }
    }
    while let Some(visited) = visits.join_next().await {
        visited.unwrap();
    }
    farm.is_as_before(before).await;
}

/// Whether a change to this place in a stream of TLS records may go unnoticed and do no harm: nobody
/// reads the version in the head of a record, nor the kind if it is encrypted, for another is inside,
/// nor the record that is there for middleboxes alone.
fn is_unread(stream: &[u8], place: usize) -> bool {
    const CHANGE_CIPHER_SPEC: u8 = 20;
    let mut at = 0;
    while let Some(&[kind, _, _, high, low]) = stream.get(at..at + 5) {
        let end = at + 5 + usize::from(u16::from_be_bytes([high, low]));
        if place < end {
            let head = at..at + 3;
            return head.contains(&place) || kind == CHANGE_CIPHER_SPEC;
        }
        at = end;
    }
    false
}

/// Flips one bit in every `stride`th byte that one side says, in the handshake and after it.
async fn changed_anywhere(of: Of, stride: usize) {
    const QUESTIONS: u32 = 4;
    let farm = Farm::set().await;
    let length = whole(&farm, QUESTIONS).await[of as usize].len();
    let before = Kept::at_rest(&farm.node).await;
    let mut noticed = 0;
    for at in (0..length).step_by(stride) {
        let harm = Harm::Flip(at, 1 << (at % 8));
        let meddler = Meddler::between(endpoint(&farm.node), of, harm).await;
        let begun = Instant::now();
        let visit = farm.visited(&meddler, QUESTIONS).await;
        // Signatures are not all of one length, so the places differ from those in `whole`.
        let stream = meddler.seen(of);
        if stream.len() > at && !is_unread(&stream, at) {
            let over = tokio::time::timeout(AT_MOST, meddler.over()).await;
            assert!(over.is_ok(), "nobody noticed a change to byte {at}");
            noticed += 1;
        }
        assert!(begun.elapsed() < AT_MOST, "{at}: {:?}", begun.elapsed());
        visit.desk.close().await;
    }
    // The rest is in the last words.
    assert!(noticed > length / stride * 3 / 4, "{noticed}");
    farm.is_as_before(before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_to_what_the_dialler_says_is_noticed() {
    changed_anywhere(Of::Dialler, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_to_what_the_dialled_node_says_is_noticed() {
    changed_anywhere(Of::Dialled, 5).await;
}
