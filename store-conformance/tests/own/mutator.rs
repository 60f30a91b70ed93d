//! Mutants of SQL and Lua: texts with one small change each.
//!
//! Like cargo-mutants, this knows no meaning: it replaces operators, constants and
//! conditions, and deletes statements, wherever they occur in code. A change that makes
//! the text invalid is not a mutant; the server decides that.

/// The language of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Sql,
    Lua,
}

/// A text with one change.
#[derive(Clone, Debug)]
pub(crate) struct Mutant {
    /// `FILE: replace A with B in LINE`, unique.
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) text: String,
}

/// What is replaced in SQL, the longest first where one begins with another.
const SQL: &[(&str, &str)] = &[
    ("FOR UPDATE SKIP LOCKED", "FOR UPDATE"),
    ("FOR UPDATE", ""),
    ("IS NOT NULL", "IS NULL"),
    ("IS NULL", "IS NOT NULL"),
    ("IS DISTINCT FROM", "IS NOT DISTINCT FROM"),
    ("NOT FOUND", "FOUND"),
    ("LEFT JOIN", "JOIN"),
    ("FULL JOIN", "JOIN"),
    ("pg_advisory_xact_lock_shared", "hashint8"),
    ("pg_advisory_xact_lock", "pg_advisory_xact_lock_shared"),
    ("greatest", "least"),
    ("bool_or", "bool_and"),
    ("FOUND", "NOT FOUND"),
    ("AND", "OR"),
    ("OR", "AND"),
    ("ANY", "ALL"),
    ("ALL", "ANY"),
    ("NOT", ""),
    ("true", "false"),
    ("false", "true"),
    ("<=", "<"),
    (">=", ">"),
    ("<>", "="),
    ("<", "<="),
    (">", ">="),
    ("=", "<>"),
    ("+", "-"),
    ("-", "+"),
    ("~", ""),
];

const LUA: &[(&str, &str)] = &[
    ("math.max", "math.min"),
    ("math.min", "math.max"),
    ("and", "or"),
    ("or", "and"),
    ("not", ""),
    ("true", "false"),
    ("false", "true"),
    ("nil", "false"),
    ("<=", "<"),
    (">=", ">"),
    ("==", "~="),
    ("~=", "=="),
    ("<", "<="),
    (">", ">="),
    ("+", "-"),
    ("-", "+"),
];

/// What contains one of the above and is not replaced.
const OTHERS: &[&str] = &[":=", "=>", "||", "..", "->", "NOT NULL"];

/// The statements that are deleted, by their first words.
const STATEMENTS: &[&str] = &[
    "PERFORM", "INSERT", "DELETE", "UPDATE", "RETURN", "EXECUTE", "SELECT", "GET", "lo", "failed",
    "removed", "more", "quota",
];

/// What begins a line of Lua that is not a whole statement.
const PARTS: &[&str] = &[
    "local", "if", "elseif", "else", "end", "for", "while", "function", "do", "repeat", "until",
];

/// Adds every mutant of a text.
pub(crate) fn add(named: &mut Vec<Mutant>, file: &str, text: &str, language: Language) {
    let code = code(text, language);
    let mut changes = replacements(text, &code, language);
    changes.extend(match language {
        Language::Sql => [orders(text, &code), sql_statements(text, &code)].concat(),
        Language::Lua => lua_statements(text, &code),
    });
    for (from, to, with) in changes {
        let old = flat(&text[from..to]);
        let what = match with.is_empty() || with == "NULL" {
            true => format!("delete `{old}`"),
            false => format!("replace `{old}` with `{with}`"),
        };
        let name = format!("{file}: {what} in `{}`", around(text, from, to));
        let numbered = format!("{name} (");
        let is_twin = |other: &&Mutant| other.name == name || other.name.starts_with(&numbered);
        let name = match named.iter().filter(is_twin).count() {
            0 => name,
            twins => format!("{name} ({})", twins + 1),
        };
        named.push(Mutant {
            name,
            file: file.into(),
            text: format!("{}{with}{}", &text[..from], &text[to..]),
        });
    }
}

type Replacement = (usize, usize, String);

/// Which bytes are code, and not a comment, a quoted text or a quoted name.
fn code(text: &str, language: Language) -> Vec<bool> {
    let bytes = text.as_bytes();
    let mut code = vec![true; bytes.len()];
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'-' if text[at..].starts_with("--") => {
                text[at..].find('\n').map_or(bytes.len(), |end| at + end)
            }
            quote @ (b'\'' | b'"') => {
                let rest = &bytes[at + 1..];
                let end = rest.iter().position(|byte| *byte == quote);
                end.map_or(bytes.len(), |end| at + end + 2)
            }
            b'[' if language == Language::Lua && text[at..].starts_with("[[") => text[at..]
                .find("]]")
                .map_or(bytes.len(), |end| at + end + 2),
            _ => {
                at += 1;
                continue;
            }
        };
        code[at..end].fill(false);
        at = end;
    }
    code
}

/// Whether a byte may be part of a name, a number or a placeholder.
fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'%' | b'$' | b'{' | b'}')
}

fn replacements(text: &str, code: &[bool], language: Language) -> Vec<Replacement> {
    let table = match language {
        Language::Sql => SQL,
        Language::Lua => LUA,
    };
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if !code[at] || bytes[at].is_ascii_whitespace() {
            at += 1;
            continue;
        }
        if let Some(other) = OTHERS.iter().find(|o| rest.starts_with(o.as_bytes())) {
            at += other.len();
            continue;
        }
        // `{}` and `{` alone are no placeholders in Lua.
        let is_word =
            in_word(bytes[at]) && !(language == Language::Lua && b"{}".contains(&bytes[at]));
        let hit = table.iter().find(|(old, _)| {
            let ends = rest.get(old.len()).is_none_or(|next| !in_word(*next));
            rest.starts_with(old.as_bytes()) && (!is_word || ends)
        });
        if let Some((old, new)) = hit {
            found.push((at, at + old.len(), (*new).to_owned()));
            at += old.len();
        } else if is_word {
            let length = rest.iter().position(|byte| !in_word(*byte));
            let word = &text[at..at + length.unwrap_or(rest.len())];
            let is_rows = text[..at].ends_with("ROWS ");
            if let (Ok(number), false) = (word.parse::<u64>(), is_rows) {
                found.push((at, at + word.len(), (number + 1).to_string()));
            }
            at += word.len();
        } else {
            at += 1;
        }
    }
    found
}

/// Each order of rows, without it.
fn orders(text: &str, code: &[bool]) -> Vec<Replacement> {
    let starts = text.match_indices("ORDER BY").filter(|(at, _)| code[*at]);
    let ends = [" LIMIT", " ROWS", ")", "\n"];
    let end = |from: usize| {
        let ends = ends.iter().filter_map(|end| text[from..].find(end));
        ends.min().map_or(text.len(), |end| from + end)
    };
    starts
        .map(|(from, _)| (from, end(from), String::new()))
        .collect()
}

/// Each statement of a function, without it.
fn sql_statements(text: &str, code: &[bool]) -> Vec<Replacement> {
    let before = ["BEGIN", "THEN", "ELSE", "LOOP", ";"];
    let mut found = Vec::new();
    for word in before {
        for (at, _) in text.match_indices(word).filter(|(at, _)| code[*at]) {
            let after = at + word.len();
            let Some(from) = (after..text.len())
                .find(|at| code[*at] && !text.as_bytes()[*at].is_ascii_whitespace())
            else {
                continue;
            };
            let first = text[from..].split(|c: char| !c.is_alphanumeric()).next();
            let end = (from..text.len()).find(|at| code[*at] && text.as_bytes()[*at] == b';');
            let is_one = first.is_some_and(|first| STATEMENTS.contains(&first));
            if let (true, Some(end)) = (is_one, end) {
                found.push((from, end, "NULL".to_owned()));
            }
        }
    }
    found.sort();
    found
}

/// Each line that is a statement, without it.
fn lua_statements(text: &str, code: &[bool]) -> Vec<Replacement> {
    let mut found = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let statement = line.trim();
        let from = at + line.len() - line.trim_start().len();
        at += line.len();
        let first = statement
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .next();
        let is_part = first.is_none_or(|first| first.is_empty() || PARTS.contains(&first));
        let count = |set: &str| statement.chars().filter(|c| set.contains(*c)).count();
        let is_whole = count("({[") == count(")}]") && !statement.ends_with(',');
        let acts = statement.contains(['=', '(']) || first == Some("return");
        if !statement.is_empty() && code[from] && !is_part && is_whole && acts {
            found.push((from, from + statement.len(), String::new()));
        }
    }
    found
}

/// In one line.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The line of a change, or what is near it in a long line.
fn around(text: &str, from: usize, to: usize) -> String {
    let start = text[..from].rfind('\n').map_or(0, |at| at + 1);
    let end = text[from..].find('\n').map_or(text.len(), |at| from + at);
    let end = end.max(to);
    if end - start < 120 {
        return flat(&text[start..end]);
    }
    let near = |at: usize| (0..=at).rev().find(|at| text.is_char_boundary(*at));
    let start = near(from.saturating_sub(40)).unwrap_or(0).max(start);
    let end = near((from + 40).min(end)).unwrap_or(end);
    flat(&text[start..end])
}
