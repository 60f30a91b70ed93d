//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

pub const HELP: &str = "\
A tour of everything that the store does, in memory.

Usage: cargo run --release -p store-memory --example tour -- [FILE] [OPTIONS]

  FILE                  streamed in and out; 256 MiB are generated if left out
  --platform FILE.json  the LTI platform to register; a built-in one if left out
  -h, --help            this text

Examples:
  tour                          the whole tour
  tour ~/Videos/holiday.mp4     with a file of yours as the object
  tour --platform canvas.json   with a platform of yours
";

#[derive(Debug, Default)]
pub struct Options {
    pub object: Option<PathBuf>,
    pub platform: Option<PathBuf>,
}

impl Options {
    /// `None` if only help was asked for.
    pub fn from_args(mut args: impl Iterator<Item = OsString>) -> Result<Option<Self>, String> {
        let mut options = Self::default();
        while let Some(arg) = args.next() {
            match arg.to_str() {
                Some("-h" | "--help") => return Ok(None),
                Some("--platform") => {
                    let file = args.next().ok_or("--platform needs a JSON file after it")?;
                    options.platform = Some(file.into());
                }
                Some(flag) if flag.starts_with("--") => {
                    return Err(format!("{flag} is not an option; --help lists them"));
                }
                _ if options.object.is_some() => {
                    return Err("more than one FILE was named; name one".into());
                }
                _ => options.object = Some(arg.into()),
            }
        }
        Ok(Some(options))
    }
}
