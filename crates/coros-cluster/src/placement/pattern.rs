//! Patterns for names and addresses.

use std::net::IpAddr;

use globset::{GlobBuilder, GlobMatcher};
use ipnet::IpNet;

use super::{NodeView, Wrong};

/// What some names or addresses match.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    /// A network; one address is the smallest.
    Network(IpNet),
    Glob(GlobMatcher),
}

impl Pattern {
    /// For names.
    pub(super) fn for_name(text: &str) -> Result<Pattern, Wrong> {
        let wrong = |why: String| Wrong::Pattern {
            text: text.to_owned(),
            why,
        };
        if text.is_empty() {
            return Err(wrong("it is empty".into()));
        }
        let glob = GlobBuilder::new(text)
            // As names of hosts are.
            .case_insensitive(true)
            // On every system, whatever its paths look like.
            .backslash_escape(true)
            .build();
        let glob = glob.map_err(|e| wrong(e.kind().to_string()))?;
        Ok(Pattern::Glob(glob.compile_matcher()))
    }

    /// For addresses: one, a network of them, or a pattern for how they are written.
    pub(super) fn for_address(text: &str) -> Result<Pattern, Wrong> {
        if let Some(network) = network(text) {
            return Ok(Pattern::Network(network));
        }
        // Else what was meant is a name, or a network with a mistake in it.
        let of_address = |c: char| c.is_ascii_hexdigit() || ".:*?[]{},-!".contains(c);
        if !text.contains(['*', '?', '[', '{']) || !text.chars().all(of_address) {
            return Err(Wrong::Address(text.to_owned()));
        }
        Pattern::for_name(text)
    }

    /// For whatever there is of a node.
    pub(super) fn for_node(text: &str) -> Result<Pattern, Wrong> {
        match network(text) {
            Some(network) => Ok(Pattern::Network(network)),
            // No name has a slash in it.
            None if text.contains('/') => Err(Wrong::Address(text.to_owned())),
            None => Pattern::for_name(text),
        }
    }

    /// Whether a node's name is such a name.
    pub(super) fn names(&self, node: &NodeView) -> bool {
        match self {
            Pattern::Network(_) => false,
            Pattern::Glob(glob) => glob.is_match(&node.name),
        }
    }

    /// Whether an address of a node is such an address.
    pub(super) fn reaches(&self, node: &NodeView) -> bool {
        // An IPv4 address may come in the form of an IPv6 one.
        let mut addresses = node.addresses.iter().map(IpAddr::to_canonical);
        match self {
            Pattern::Network(network) => addresses.any(|address| network.contains(&address)),
            Pattern::Glob(glob) => addresses.any(|address| glob.is_match(address.to_string())),
        }
    }

    /// Whether a node is meant, by whatever there is of it.
    pub(super) fn names_node(&self, node: &NodeView) -> bool {
        self.names(node) || self.reaches(node)
    }
}

fn network(text: &str) -> Option<IpNet> {
    // An IPv6 address may stand in brackets, which must not be taken for a pattern's.
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = inner.unwrap_or(text).parse::<IpAddr>().ok();
    address
        .map(|address| IpNet::from(address.to_canonical()))
        .or_else(|| text.parse().ok())
}
