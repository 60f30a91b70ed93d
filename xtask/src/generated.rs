//! Generated text: written to a file, or compared with it.

use std::fs;
use std::path::Path;

use crate::Result;

/// What to do with the generated text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Write it.
    Write,
    /// Fail if the file differs.
    Check,
}

impl Mode {
    /// The mode of a command whose only option is `--check`.
    pub fn of(mut arguments: lexopt::Parser) -> Result<Self> {
        let mut mode = Self::Write;
        while let Some(argument) = arguments.next()? {
            match argument {
                lexopt::Arg::Long("check") => mode = Self::Check,
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(mode)
    }
}

/// Writes `text` to `file`, or checks that the file has it. `command` regenerates it.
pub fn settle(mode: Mode, file: &Path, text: &str, command: &str) -> Result {
    let name = file.file_name().unwrap_or(file.as_os_str()).display();
    // A missing file counts as empty.
    let before = fs::read_to_string(file).unwrap_or_default();
    if before == text {
        println!("{name} is up to date");
        return Ok(());
    }
    if mode == Mode::Write {
        fs::write(file, text)?;
        println!("{name} written");
        return Ok(());
    }
    let differs = before.lines().zip(text.lines()).position(|(a, b)| a != b);
    let line = differs.unwrap_or(before.lines().count().min(text.lines().count()));
    let at = |text: &str| text.lines().nth(line).unwrap_or("(the end)").to_owned();
    Err(format!(
        "{name} is out of date; run `{command}`\n  line {}\n  is:        {}\n  should be: {}",
        line + 1,
        at(&before),
        at(text)
    )
    .into())
}

/// `text` with the part between `<!-- NAME -->` and `<!-- /NAME -->`
/// replaced by `inner`.
///
/// # Errors
/// If the two markers are missing or in the wrong order.
pub fn between(text: &str, name: &str, inner: &str) -> Result<String> {
    let (start, end) = markers(text, name)?;
    Ok(format!(
        "{}\n\n{}\n\n{}",
        &text[..start],
        inner.trim(),
        &text[end..]
    ))
}

/// The part between `<!-- NAME -->` and `<!-- /NAME -->`.
///
/// # Errors
/// If the two markers are missing or in the wrong order.
pub fn inside<'a>(text: &'a str, name: &str) -> Result<&'a str> {
    let (start, end) = markers(text, name)?;
    Ok(text[start..end].trim())
}

/// Where the first marker ends and the second begins.
fn markers(text: &str, name: &str) -> Result<(usize, usize)> {
    let (open, close) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    let start = text.find(&open).map(|at| at + open.len());
    let end = start.and_then(|start| text[start..].find(&close).map(|at| start + at));
    start
        .zip(end)
        .ok_or_else(|| format!("there are no lines `{open}` and `{close}`").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_between_the_markers_is_replaced() {
        let text = "a\n<!-- m -->\nold\n<!-- /m -->\nb\n";
        let new = between(text, "m", "new").unwrap();
        assert_eq!(new, "a\n<!-- m -->\n\nnew\n\n<!-- /m -->\nb\n");
        assert_eq!(inside(&new, "m").unwrap(), "new");
        assert!(between("a <!-- /m --> <!-- m -->", "m", "new").is_err());
    }
}
