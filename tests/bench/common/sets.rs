//! Public data sets, which are not part of the repository: where they are, and their scorers.
//!
//! `HEADWATER_BENCH_DATA` names a folder with `tcpd/` (series as CSV with an index, a time and
//! values), `nab/` (the benchmark's `data/` and `labels/`), `rca/` (injected faults) and a Python
//! scorer of each, `tcpd_score.py`, `nab_score.py` and `rca_score.py`. Without it there is nothing
//! to measure.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// The variable that names the folder.
pub(crate) const VARIABLE: &str = "HEADWATER_BENCH_DATA";

/// The folder of a set, beside its scorer; `None`, and said so, if there is none.
pub(crate) fn folder(set: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os(VARIABLE) else {
        println!("skipped: {VARIABLE} names no folder that holds {set}/ and its scorer");
        return None;
    };
    Some(PathBuf::from(folder).join(set))
}

/// The CSV files of a folder, in order.
pub(crate) fn csv_files(folder: &Path) -> Result<Vec<PathBuf>> {
    entries(folder, |path| path.extension().is_some_and(|extension| extension == "csv"))
}

/// The folders in a folder, in order.
pub(crate) fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    entries(folder, |path| path.is_dir())
}

fn entries(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let listed = fs::read_dir(folder).with_context(|| {
        format!("cannot list {}: {VARIABLE} must name the folder of the sets", folder.display())
    })?;
    let mut paths = Vec::new();
    for entry in listed {
        let path = entry?.path();
        if wanted(&path) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Runs a set's scorer, whose result goes to standard output.
pub(crate) fn score(set: &Path, scorer: &str, arguments: &[&Path], flags: &[&str]) -> Result<()> {
    let program = set.with_file_name(scorer);
    // What was printed so far must precede what the scorer prints.
    std::io::Write::flush(&mut std::io::stdout())?;
    let status = Command::new("python3")
        .arg(&program)
        .args(arguments)
        .args(flags)
        .status()
        .context("cannot start python3, which the scorers need: install it")?;
    if !status.success() {
        bail!("{} failed: {status}", program.display());
    }
    Ok(())
}

/// The name of a file without its extension.
pub(crate) fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}
