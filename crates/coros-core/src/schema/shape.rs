//! One number for a grammar, the same for all grammars that describe the same shape.
//!
//! A recursive type is a graph with cycles, and the same shape may be written down as different graphs: two modules may
//! each have their own `Point` or share one. So nodes are hashed in rounds: at first each by itself, then
//! together with the hashes that its contents had in the round before. Two nodes that differ
//! at some depth differ from that round on, and when a round has told no more nodes apart than
//! the one before, none will. The hash of the whole is that of the root then, and of all pairs of
//! hashes in the last two rounds, which say how the kinds of nodes hang together (Moore's
//! minimisation, with hashes for the classes).

use std::collections::BTreeSet;

use super::trace::{Content, Node};

/// What is hashed, how. Another number makes all schemas differ from those of older programs.
const VERSION: &[u8] = b"coros schema 1";

type Digest = [u8; 16];

/// 64 bits for a grammar whose root is its first node.
pub(super) fn hash(nodes: &[Node]) -> u64 {
    let nothing = vec![Digest::default(); nodes.len()];
    let mut present = round(nodes, &nothing);
    let mut classes = count(&present);
    let next = loop {
        let next = round(nodes, &present);
        let more = count(&next);
        if more <= classes {
            break next;
        }
        (present, classes) = (next, more);
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(VERSION).update(&present[0]);
    let pairs: BTreeSet<_> = present.iter().zip(&next).collect();
    for (one, other) in pairs {
        hasher.update(one).update(other);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

fn count(digests: &[Digest]) -> usize {
    digests.iter().collect::<BTreeSet<_>>().len()
}

fn round(nodes: &[Node], before: &[Digest]) -> Vec<Digest> {
    nodes.iter().map(|node| digest(node, before)).collect()
}

fn digest(node: &Node, before: &[Digest]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[node.kind as u8]);
    text(&mut hasher, node.name);
    number(&mut hasher, node.variants.len());
    for variant in &node.variants {
        text(&mut hasher, variant.name);
        text(&mut hasher, variant.form);
        number(&mut hasher, variant.fields.len());
        for field in variant.fields {
            text(&mut hasher, field);
        }
        number(&mut hasher, variant.contents.len());
        for content in &variant.contents {
            match content {
                Content::Unknown => {
                    hasher.update(&[0]);
                }
                Content::Leaf(leaf, name) => {
                    hasher.update(&[1]);
                    text(&mut hasher, leaf);
                    text(&mut hasher, name);
                }
                Content::Node(id) => {
                    hasher.update(&[2]).update(&before[*id]);
                }
            }
        }
    }
    let mut digest = Digest::default();
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    digest
}

fn text(hasher: &mut blake3::Hasher, text: &str) {
    number(hasher, text.len());
    hasher.update(text.as_bytes());
}

fn number(hasher: &mut blake3::Hasher, number: usize) {
    hasher.update(&(number as u64).to_le_bytes());
}
