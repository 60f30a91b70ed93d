//! A process that repeats a call a given number of times and reports how long it took.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// The argument with which this program runs as such a process.
pub(crate) const ARGUMENT: &str = "--contend";

/// The parent's handle of the process, which reads a line with the number of calls and
/// writes a line with the nanoseconds that they took.
pub(crate) struct Worker {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Worker {
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut worker = Self {
            input: process.stdin.take(),
            output: BufReader::new(process.stdout.take().unwrap()),
            process,
        };
        // Lets the process connect and warm up.
        worker.begin(5_000);
        worker.end();
        worker
    }

    pub(crate) fn begin(&mut self, times: u64) {
        writeln!(self.input.as_mut().unwrap(), "{times}").unwrap();
    }

    pub(crate) fn end(&mut self) -> Duration {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        Duration::from_nanos(line.trim().parse().unwrap())
    }
}

/// The loop of the process: runs the requested calls.
pub(crate) fn serve(mut work: impl FnMut(u64) -> Duration) {
    for line in std::io::stdin().lines() {
        let took = work(line.unwrap().parse().unwrap());
        println!("{}", took.as_nanos());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The process ends when its input is closed.
        self.input = None;
        let _ = self.process.wait();
    }
}
