//! How far a long command has come: one line on a terminal's standard error, drawn over itself and
//! wiped at the end. Nothing at all where standard error is no terminal. A few lines of our own: a
//! bar, a share and two times need no library.

use std::{
    io::{self, IsTerminal as _, Read, Write as _, stderr},
    time::{Duration, Instant},
};

/// Between two drawings: often enough to look alive, and nothing beside the work.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Nothing is drawn of what is over sooner.
const DRAW_AFTER: Duration = Duration::from_millis(300);

/// The remaining time is guessed from this share on.
const GUESS_SHARE: f64 = 0.01;

/// Characters of the bar.
const BAR_CHARS: usize = 24;

/// One part of a command's work.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    total: u64,
    done: u64,
    started: Instant,
    /// `None` where nobody looks.
    drawn: Option<Instant>,
    is_visible: bool,
}

impl Progress {
    /// Begins a part of `total` units.
    pub fn begin(what: &'static str, total: u64) -> Progress {
        let started = Instant::now();
        let drawn = stderr().is_terminal().then_some(started);
        Progress { what, total, done: 0, started, drawn, is_visible: false }
    }

    /// So many units are done in all.
    pub fn reach(&mut self, done: u64) {
        self.done = done;
        self.draw_if_due();
    }

    /// What is read through this is progress.
    pub fn reading<Input: Read>(&mut self, input: Input) -> Reading<'_, Input> {
        Reading { progress: self, input }
    }

    fn draw_if_due(&mut self) {
        let Some(drawn) = &mut self.drawn else { return };
        let elapsed = self.started.elapsed();
        if elapsed < DRAW_AFTER || drawn.elapsed() < DRAW_EVERY {
            return;
        }
        *drawn = Instant::now();
        self.is_visible = true;
        let share = self.done as f64 / self.total.max(1) as f64;
        // A terminal that takes nothing is no reason to stop.
        let _ = write!(stderr(), "\r{}\x1b[K", line(self.what, share, elapsed));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_visible {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

/// An input that is watched.
#[derive(Debug)]
pub struct Reading<'a, Input> {
    progress: &'a mut Progress,
    input: Input,
}

impl<Input: Read> Read for Reading<'_, Input> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let done = self.progress.done + count as u64;
        self.progress.reach(done);
        Ok(count)
    }
}

fn line(what: &str, share: f64, elapsed: Duration) -> String {
    let share = share.clamp(0.0, 1.0);
    let full = (share * BAR_CHARS as f64) as usize;
    let bar = format!("{}{}", "=".repeat(full), " ".repeat(BAR_CHARS - full));
    let mut line = format!("{what} [{bar}] {:3.0} %  {}", share * 100.0, clock(elapsed));
    if share >= GUESS_SHARE {
        let left = elapsed.mul_f64((1.0 - share) / share);
        line += &format!(", {} left", clock(left));
    }
    line
}

/// Minutes and seconds, with hours where there are any.
fn clock(length: Duration) -> String {
    let seconds = length.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours == 0 {
        format!("{minutes}:{seconds:02}")
    } else {
        format!("{hours}:{minutes:02}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_far_and_how_long() {
        let half = line("replaying", 0.5, Duration::from_secs(75));
        assert_eq!(half, "replaying [============            ]  50 %  1:15, 1:15 left");
        let whole = line("reading", 1.0, Duration::from_secs(3_700));
        assert_eq!(whole, "reading [========================] 100 %  1:01:40, 0:00 left");
    }

    #[test]
    fn a_beginning_promises_nothing() {
        let none = line("reading", 0.0, Duration::from_secs(9));
        assert_eq!(none, "reading [                        ]   0 %  0:09");
    }

    #[test]
    fn what_was_read_is_counted() {
        let mut progress = Progress::begin("reading", 10);
        let mut text = String::new();
        progress.reading(&b"0123456789"[..]).read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), progress.done), ("0123456789", 10));
    }
}
