//! The scripts that decide in the server.

use redis::{Cmd, Script};

/// A script and the digest that a server knows it by.
pub(crate) struct Lua {
    text: &'static str,
    digest: String,
}

impl Lua {
    fn new(text: &'static str) -> Self {
        let digest = Script::new(text).get_hash().to_owned();
        Self { text, digest }
    }

    /// The command that runs it, without its keys and arguments. `by_digest`
    /// unless the server turned out not to know it.
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

/// All of them.
#[derive(Debug)]
pub(crate) struct Scripts {
    pub(crate) commit: Lua,
    pub(crate) list: Lua,
    pub(crate) keep: Lua,
    pub(crate) scan: Lua,
    pub(crate) take: Lua,
    pub(crate) swap: Lua,
}

/// A script that writes records.
macro_rules! writing {
    ($name:literal) => {
        Lua::new(concat!(
            include_str!("../scripts/tidy.lua"),
            include_str!(concat!("../scripts/", $name, ".lua"))
        ))
    };
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            commit: writing!("commit"),
            list: writing!("list"),
            keep: writing!("keep"),
            scan: Lua::new(include_str!("../scripts/scan.lua")),
            take: Lua::new(include_str!("../scripts/take.lua")),
            swap: Lua::new(include_str!("../scripts/swap.lua")),
        }
    }

    /// Those that are asked for by their digests.
    pub(crate) fn all(&self) -> [&Lua; 5] {
        let Self {
            commit,
            list: _,
            keep,
            scan,
            take,
            swap,
        } = self;
        [commit, keep, scan, take, swap]
    }
}
