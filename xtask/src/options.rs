//! What test programs may use: the options that several commands share.

use std::process::Command;

/// What to run, and how servers may be found.
#[derive(Debug, Default)]
pub struct Options {
    /// Only these backends; if empty, all of them and the tests without a backend too.
    pub backends: Vec<String>,
    /// Every server of each backend, not only the first one found.
    pub every_server: bool,
    /// What is not proven has failed.
    pub strict: bool,
    /// No containers for servers.
    pub no_docker: bool,
    /// Fetch missing servers.
    pub install: bool,
    /// How many test programs run at a time; as many as there are processors if absent.
    pub jobs: Option<usize>,
}

impl Options {
    /// Passes on to a program how it may find its servers.
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
