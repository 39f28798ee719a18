//! The command line that all measurements have, and their work on all cores.

use std::{
    num::NonZeroUsize,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

const HELP: &str = "\
options, after `cargo bench --bench NAME --`:
  --full        the full number of runs (minutes) instead of a sample (about a minute)
  --seed N      the first seed; every run has its own [default: 1]
  --only TEXT   only rows whose name contains this
  --threads N   threads [default: one a core]";

/// What a measurement was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The full number of runs.
    pub(crate) full: bool,
    /// The first seed.
    pub(crate) seed: u64,
    /// Only rows whose name contains this.
    pub(crate) only: Option<String>,
    /// Threads that work at once.
    pub(crate) threads: u64,
}

impl Options {
    /// Reads the process's command line; a mistake ends the process with status 2.
    pub(crate) fn read() -> Options {
        match Options::parse(std::env::args().skip(1)) {
            Ok(Some(options)) => options,
            Ok(None) => {
                println!("{HELP}");
                std::process::exit(0);
            }
            Err(message) => {
                eprintln!("{message}\n{HELP}");
                std::process::exit(2);
            }
        }
    }

    /// `None` if help was asked for.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get) as u64;
        let mut options = Options { full: false, seed: 1, only: None, threads: cores };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo says this to every bench target.
                "--bench" => {}
                "--full" => options.full = true,
                "--seed" => options.seed = number(&argument, arguments.next())?,
                "--threads" => options.threads = number(&argument, arguments.next())?.max(1),
                "--only" => {
                    let text = arguments.next();
                    options.only = Some(text.ok_or_else(|| format!("{argument} needs a text"))?);
                }
                "--help" => return Ok(None),
                _ => return Err(format!("unknown option {argument:?}")),
            }
        }
        Ok(Some(options))
    }

    /// A row of this name is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|text| name.contains(text))
    }

    /// The one of two counts of runs that was asked for.
    pub(crate) fn runs(&self, sample: u64, full: u64) -> u64 {
        if self.full { full } else { sample }
    }

    /// The results of so many independent runs, in their order, from all threads.
    pub(crate) fn each<T: Send>(&self, runs: u64, run: impl Fn(u64) -> T + Sync) -> Vec<T> {
        let next = AtomicU64::new(0);
        let done = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..self.threads.min(runs) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= runs {
                            break;
                        }
                        let result = run(index);
                        // A panic of another run ends the scope with its own message.
                        if let Ok(mut done) = done.lock() {
                            done.push((index, result));
                        }
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_default();
        done.sort_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, result)| result).collect()
    }
}

fn number(option: &str, text: Option<String>) -> Result<u64, String> {
    let text = text.ok_or_else(|| format!("{option} needs a number"))?;
    text.parse().map_err(|_| format!("{option} {text:?}: not a whole number"))
}
