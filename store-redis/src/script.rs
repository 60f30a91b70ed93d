//! The Lua scripts that run in the server.

use redis::{Cmd, Script};

/// A script and its SHA-1 digest.
pub(crate) struct Lua {
    text: &'static str,
    digest: String,
}

impl Lua {
    fn new(text: &'static str) -> Self {
        let digest = Script::new(text).get_hash().to_owned();
        Self { text, digest }
    }

    /// The command that runs it, without keys and arguments: `EVALSHA`, or `EVAL` for a
    /// server that does not have the script.
    pub(crate) fn command(&self, by_digest: bool, arguments: usize, bytes: usize) -> Cmd {
        let mut command = Cmd::with_capacity(arguments + 3, bytes + 64);
        if by_digest {
            command.arg("EVALSHA").arg(&self.digest);
        } else {
            command.arg("EVAL").arg(self.text);
        }
        command
    }

    pub(crate) fn text(&self) -> &'static str {
        self.text
    }
}

impl std::fmt::Debug for Lua {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Lua").field(&self.digest).finish()
    }
}

/// All scripts.
#[derive(Debug)]
pub(crate) struct Scripts {
    pub(crate) commit: Lua,
    pub(crate) index: Lua,
    pub(crate) persist: Lua,
    pub(crate) scan: Lua,
    pub(crate) take: Lua,
    pub(crate) swap: Lua,
}

/// A script that writes records.
macro_rules! writing {
    ($name:literal) => {
        Lua::new(concat!(
            include_str!("../scripts/purge.lua"),
            include_str!(concat!("../scripts/", $name, ".lua"))
        ))
    };
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            commit: writing!("commit"),
            index: writing!("index"),
            persist: writing!("persist"),
            scan: Lua::new(include_str!("../scripts/scan.lua")),
            take: Lua::new(include_str!("../scripts/take.lua")),
            swap: Lua::new(include_str!("../scripts/swap.lua")),
        }
    }

    /// The scripts that are called by digest.
    pub(crate) fn all(&self) -> [&Lua; 5] {
        let Self {
            commit,
            index: _,
            persist,
            scan,
            take,
            swap,
        } = self;
        [commit, persist, scan, take, swap]
    }
}
