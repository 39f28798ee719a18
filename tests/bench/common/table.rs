//! Tables on standard output, a row as soon as it is measured.

use std::io::Write;

/// A table whose columns have fixed widths, so that rows appear as they are measured.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    widths: Vec<usize>,
}

impl Table {
    /// Prints the title and the header; a column is a name and the width of its longest cell.
    pub(crate) fn begin(title: &str, columns: &[(&str, usize)]) -> Table {
        println!("\n{title}\n");
        let widths = columns.iter().map(|(name, width)| (*width).max(name.chars().count()));
        let table = Table { widths: widths.collect() };
        table.row(columns.iter().map(|(name, _)| (*name).to_owned()));
        table.row(table.widths.iter().map(|width| "-".repeat(*width)));
        table
    }

    /// Prints one row.
    pub(crate) fn row(&self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().zip(&self.widths);
        let line: String = cells.map(|(cell, width)| format!("{cell:width$} | ")).collect();
        println!("{}", line.trim_end_matches([' ', '|']));
        // Whoever waits for minutes wants to see what there is. A closed output ends the process
        // at the next line.
        let _ = std::io::stdout().flush();
    }
}
