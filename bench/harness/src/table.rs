//! The table for people.

use comfy_table::{Cell as TableCell, CellAlignment, ContentArrangement, Table, presets};

use crate::results::{self, Column};
use crate::run::Outcome;
use crate::{Peer, Suite};

/// What a table is made from.
#[derive(Debug)]
pub struct Source<'a, C: Column> {
    pub outcome: &'a Outcome<C::Suite>,
    pub columns: &'a [C],
    pub peers: &'a [<C::Suite as Suite>::Peer],
    /// Peers that have a row which says why they are not here.
    pub missing: &'a [(<C::Suite as Suite>::Peer, &'static str)],
    /// Whom ratios are to.
    pub base: <C::Suite as Suite>::Peer,
}

/// The table, with what `header` says above each column, of all who take part in any.
pub fn render<C: Column>(source: &Source<'_, C>, header: impl Fn(C) -> String) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    // A table that is cut to the width of a terminal cannot be read; one that wraps can at least be piped.
    table.set_content_arrangement(ContentArrangement::Disabled);
    let headers = source.columns.iter().map(|&column| right(header(column)));
    table.set_header(std::iter::once(TableCell::new("")).chain(headers));
    let missing = source.missing.iter().map(|&(peer, why)| (peer, Some(why)));
    let mut rows: Vec<_> = source.peers.iter().map(|&peer| (peer, None)).collect();
    rows.extend(missing);
    let takes_part = |peer| {
        let mut columns = source.columns.iter();
        columns.any(|column| C::Suite::has(column.case(), peer))
    };
    rows.retain(|&(peer, _)| takes_part(peer));
    rows.sort();
    for (peer, missing) in rows {
        let mut row = vec![TableCell::new(peer.title())];
        if let Some(why) = missing {
            row.push(TableCell::new(why));
        } else {
            row.extend(
                source
                    .columns
                    .iter()
                    .map(|&column| right(cell(source, peer, column))),
            );
        }
        table.add_row(row);
    }
    table.to_string()
}

fn right(text: String) -> TableCell {
    TableCell::new(text).set_alignment(CellAlignment::Right)
}

fn cell<C: Column>(source: &Source<'_, C>, peer: <C::Suite as Suite>::Peer, column: C) -> String {
    match results::cell(source.outcome, peer, source.base, column) {
        _ if source.outcome.has_failed(peer, column.case()) => "failed".to_owned(),
        None => "-".to_owned(),
        Some(cell) => {
            let ratio = cell
                .ratio
                .map_or_else(String::new, |ratio| format!(" x{}", short(ratio)));
            format!(
                "{}{ratio}\n{}-{}",
                short(cell.median),
                short(cell.min),
                short(cell.max)
            )
        }
    }
}

/// Three digits that count, never an exponent.
#[must_use]
pub fn short(value: f64) -> String {
    match value {
        v if v >= 999.5 => count(v.round() as u64),
        v if v >= 99.95 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v if v >= 0.0995 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

/// `1234567` as `1,234,567`.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(0.0123), "0.012");
        assert_eq!(short(0.0999), "0.10");
        assert_eq!(short(2.708), "2.71");
        assert_eq!(short(9.999), "10.0");
        assert_eq!(short(439.4), "439");
        assert_eq!(short(999.7), "1,000");
        assert_eq!(short(1_537.2), "1,537");
        assert_eq!(count(10_000_000), "10,000,000");
        assert_eq!(count(999), "999");
    }
}
