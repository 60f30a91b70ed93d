//! The options that several commands share.

use std::process::Command;

/// What to run, and where servers may come from.
#[derive(Debug, Default)]
pub struct Options {
    /// Only these backends; if empty, all of them, and the tests without a backend.
    pub backends: Vec<String>,
    /// Use every server of each backend, not only the first one found.
    pub every_server: bool,
    /// What could not be tested counts as failed.
    pub strict: bool,
    /// Do not use containers for servers.
    pub no_docker: bool,
    /// Fetch missing servers.
    pub install: bool,
    /// How many test programs run at a time; as many as there are processors if absent.
    pub jobs: Option<usize>,
}

impl Options {
    /// Sets the variables by which a program knows where its servers may come from.
    pub fn apply(&self, command: &mut Command) {
        for (name, wanted) in [
            ("STORE_TEST_NO_DOCKER", self.no_docker),
            ("STORE_TEST_INSTALL", self.install),
        ] {
            if wanted {
                command.env(name, "1");
            }
        }
    }

    /// How many test programs run at a time.
    pub fn width(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(2, usize::from);
        self.jobs.unwrap_or_else(processors).max(1)
    }
}
