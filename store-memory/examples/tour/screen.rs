//! Prints the steps of the tour.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Prints chapters of steps, in colour on a terminal.
pub struct Screen {
    colour: bool,
}

impl Screen {
    pub fn new() -> Self {
        Self {
            colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    fn paint(&self, code: &str, text: impl Display) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }

    pub fn chapter(&self, title: &str) {
        print(format_args!("\n{}", self.paint("1;36", title)));
    }

    /// Something was done, with this result.
    pub fn yes(&self, what: &str, detail: impl Display) {
        self.step("32", "✓", what, detail);
    }

    /// Something was refused, as it should be.
    pub fn no(&self, what: &str, detail: impl Display) {
        self.step("33", "✗", what, detail);
    }

    fn step(&self, code: &str, sign: &str, what: &str, detail: impl Display) {
        let detail = self.paint("2", detail);
        print(format_args!(
            "  {} {what:<44} {detail}",
            self.paint(code, sign)
        ));
    }

    pub fn end(&self, text: &str) {
        print(format_args!("\n{}", self.paint("1", text)));
    }
}

/// Prints a line. If the reader closes the pipe, as `head` does, the program ends without
/// an error.
fn print(line: impl Display) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

/// A number of bytes in a readable unit.
pub fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

/// A duration in a readable unit.
pub fn duration(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s < 1e-3 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}
