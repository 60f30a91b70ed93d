//! Options of a URL.

use std::str::FromStr;

use super::{listed, wrong};
use crate::error::Result;

/// The options of a [`StoreUrl`](crate::config::StoreUrl), to be taken by name and then
/// [finished](UrlOptions::finish).
#[must_use = "finish() refuses the options that are left"]
#[derive(Debug)]
pub struct UrlOptions<'a> {
    left: Vec<&'a (String, String)>,
    known: Vec<&'static str>,
}

impl<'a> UrlOptions<'a> {
    pub(super) fn new(options: &'a [(String, String)]) -> Self {
        Self {
            left: options.iter().collect(),
            known: Vec::new(),
        }
    }

    /// The value of this option as text, decoded.
    pub fn take_text(&mut self, name: &'static str) -> Option<&'a str> {
        self.known.push(name);
        let place = self.left.iter().position(|(known, _)| known == name)?;
        Some(&self.left.swap_remove(place).1)
    }

    /// The value of this option: a number, `true`, `false`, or another type
    /// that can be parsed.
    ///
    /// # Errors
    /// `Config` if it does not parse. The value is not shown.
    pub fn take<T: FromStr>(&mut self, name: &'static str) -> Result<Option<T>> {
        let Some(text) = self.take_text(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| {
            let kind = std::any::type_name::<T>()
                .rsplit("::")
                .next()
                .unwrap_or("value");
            wrong(format!("the URL's option `{name}` is not of type {kind}"))
        })
    }

    /// The value of this option as a duration such as `500ms`, `5s` or `2min`.
    ///
    /// # Errors
    /// As [`UrlOptions::take`].
    pub fn take_duration(&mut self, name: &'static str) -> Result<Option<std::time::Duration>> {
        let text = self.take_text(name);
        text.map(humantime::parse_duration)
            .transpose()
            .map_err(|_| {
                wrong(format!(
                    "the URL's option `{name}` is not a duration such as 500ms, 5s or 2min"
                ))
            })
    }

    /// The options of the form `prefix[name]=value`, as names and values.
    pub fn take_indexed(&mut self, prefix: &'static str) -> Vec<(&'a str, &'a str)> {
        self.known.push(prefix);
        let index = |option: &&'a (String, String)| {
            let name = option.0.strip_prefix(prefix)?.strip_prefix('[')?;
            Some((name.strip_suffix(']')?, &*option.1))
        };
        let found = self.left.iter().filter_map(index).collect();
        self.left.retain(|option| index(option).is_none());
        found
    }

    /// Refuses the options that were not taken.
    ///
    /// # Errors
    /// `Config` that names the option, and those that this backend knows.
    pub fn finish(self) -> Result<()> {
        match self.left.first() {
            None => Ok(()),
            Some((name, _)) => Err(wrong(format!(
                "the URL's option `{name}` is unknown; this backend knows {}",
                listed(self.known.iter().map(|name| format!("`{name}`")))
            ))),
        }
    }
}
