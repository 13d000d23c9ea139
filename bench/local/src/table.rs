//! The table for people.

use comfy_table::{Cell as TableCell, CellAlignment, ContentArrangement, Table, presets};

use crate::peers::Peer;
use crate::results::{self, Column, Measure};
use crate::run::Outcome;

pub(crate) fn render(
    peers: &[Peer],
    missing: &[Peer],
    columns: &[Column],
    outcome: &Outcome,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    // A table that is cut to the width of a terminal cannot be read; one that wraps can at least be piped.
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(
        std::iter::once(TableCell::new("")).chain(columns.iter().map(|&column| header(column))),
    );
    let mut rows: Vec<Peer> = peers.iter().chain(missing).copied().collect();
    rows.sort();
    for peer in rows {
        let mut row = vec![TableCell::new(peer.title())];
        if missing.contains(&peer) {
            row.push(TableCell::new("not installed"));
        } else {
            row.extend(columns.iter().map(|&column| cell(outcome, peer, column)));
        }
        table.add_row(row);
    }
    table.to_string()
}

fn header(column: Column) -> TableCell {
    let name = column.case.workload.name();
    let n = count(column.case.n);
    let text = match column.measure {
        Measure::MillionsPerSecond => format!("{name}\n{n}\nM/s"),
        Measure::SpawnSeconds => format!("{name} spawn\n{n}\ns"),
        Measure::BytesPerIdle => format!("{name} idle\n{n}\nbytes"),
    };
    TableCell::new(text).set_alignment(CellAlignment::Right)
}

fn cell(outcome: &Outcome, peer: Peer, column: Column) -> TableCell {
    let text = match results::cell(outcome, peer, column) {
        _ if outcome.has_failed(peer, column.case) => "failed".to_owned(),
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
    };
    TableCell::new(text).set_alignment(CellAlignment::Right)
}

/// Three digits that count, never an exponent.
pub(crate) fn short(value: f64) -> String {
    match value {
        v if v >= 999.5 => count(v.round() as u64),
        v if v >= 99.95 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v if v >= 0.0995 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn count(n: u64) -> String {
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
