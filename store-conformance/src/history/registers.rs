//! The model of a record store: registers that change together.

use std::collections::BTreeMap;
use std::fmt;

use store_core::{Expect, Version};

use super::Model;

/// The records of one partition, each represented by its version. No version is used
/// twice, so it stands for the content.
///
/// The key of a history is the record if every call concerns one record, and the
/// partition if commits span several.
#[derive(Clone, Copy, Debug, Default)]
pub struct Registers;

/// A call on [`Registers`]; records are numbered.
#[derive(Clone, PartialEq, Eq)]
pub enum RegistersCall {
    /// Reads one record.
    Get(usize),
    /// Commits under a new version.
    Commit(Version, Vec<Item>),
}

/// The item of a record in a commit.
pub type Item = (usize, Expect, Write);

/// The change of a record in a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Nothing.
    Check,
    /// Writes it, under the commit's version.
    Put,
    /// Removes it.
    Delete,
}

/// An answer of [`Registers`].
#[derive(Clone, PartialEq, Eq)]
pub enum RegistersAnswer {
    /// The result of a read.
    Found(Option<Version>),
    /// The commit was done.
    Committed,
    /// The commit was refused: the items that failed, by index, and the current versions.
    Refused(Vec<(usize, Option<Version>)>),
}

impl Model for Registers {
    type State = BTreeMap<usize, Version>;
    type Call = RegistersCall;
    type Answer = RegistersAnswer;

    fn initial(&self) -> Self::State {
        BTreeMap::new()
    }

    fn step(&self, state: &Self::State, call: &Self::Call) -> (Self::State, Self::Answer) {
        let (version, items) = match call {
            RegistersCall::Get(record) => {
                let found = state.get(record).copied();
                return (state.clone(), RegistersAnswer::Found(found));
            }
            RegistersCall::Commit(version, items) => (*version, items),
        };
        let mut refused = Vec::new();
        for (place, (record, expect, _)) in items.iter().enumerate() {
            let current = state.get(record).copied();
            let holds = match expect {
                Expect::Any => true,
                Expect::Absent => current.is_none(),
                Expect::Present => current.is_some(),
                Expect::Version(version) => current == Some(*version),
            };
            if !holds {
                refused.push((place, current));
            }
        }
        if !refused.is_empty() {
            return (state.clone(), RegistersAnswer::Refused(refused));
        }
        let mut after = state.clone();
        for (record, _, write) in items {
            match write {
                Write::Check => {}
                Write::Put => drop(after.insert(*record, version)),
                Write::Delete => drop(after.remove(record)),
            }
        }
        (after, RegistersAnswer::Committed)
    }
}

/// The end of a version, which is enough to distinguish the versions of one history.
fn short(version: Version) -> String {
    let text = version.to_string();
    format!("v{}", &text[text.len() - 6..])
}

fn shown(found: Option<Version>) -> String {
    found.map_or("nothing".into(), short)
}

impl fmt::Debug for RegistersCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get(record) => write!(f, "get {record}"),
            Self::Commit(version, items) => {
                write!(f, "commit {}:", short(*version))?;
                for (record, expect, write) in items {
                    let what = match write {
                        Write::Check => "check",
                        Write::Put => "put",
                        Write::Delete => "delete",
                    };
                    match expect {
                        Expect::Version(v) => write!(f, " {what} {record} if {}", short(*v))?,
                        expect => write!(f, " {what} {record} if {expect:?}")?,
                    }
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for RegistersAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(found) => f.write_str(&shown(*found)),
            Self::Committed => f.write_str("done"),
            Self::Refused(failed) => {
                f.write_str("refused:")?;
                for (place, found) in failed {
                    write!(f, " item {place} found {}", shown(*found))?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Outcome, Recorder, check};
    use super::*;

    type Log = Recorder<&'static str, RegistersCall, RegistersAnswer>;

    fn get() -> RegistersCall {
        RegistersCall::Get(0)
    }

    fn found(version: Option<Version>) -> Outcome<RegistersAnswer> {
        Outcome::Answered(RegistersAnswer::Found(version))
    }

    fn done() -> Outcome<RegistersAnswer> {
        Outcome::Answered(RegistersAnswer::Committed)
    }

    fn commit(expect: Expect, write: Write) -> (Version, RegistersCall) {
        let version = Version::unique();
        let call = RegistersCall::Commit(version, vec![(0, expect, write)]);
        (version, call)
    }

    /// A call without other calls between its beginning and its end.
    fn at_once(log: &Log, process: usize, call: RegistersCall, outcome: Outcome<RegistersAnswer>) {
        let call = log.begin(process, "a", call);
        log.end(call, outcome);
    }

    fn violation(log: Log) -> String {
        check(&Registers, &log.finish())
            .expect_err("no order explains this")
            .to_string()
    }

    #[test]
    fn calls_that_overlap_may_take_effect_in_either_order() {
        let log = Log::new();
        let (first, put_first) = commit(Expect::Any, Write::Put);
        let (second, put_second) = commit(Expect::Any, Write::Put);
        let a = log.begin(0, "a", put_first);
        let b = log.begin(1, "a", put_second);
        at_once(&log, 2, get(), found(None));
        at_once(&log, 2, get(), found(Some(second)));
        at_once(&log, 2, get(), found(Some(first)));
        log.end(b, done());
        log.end(a, done());
        at_once(&log, 2, get(), found(Some(first)));
        assert_eq!(check(&Registers, &log.finish()), Ok(6));
    }

    #[test]
    fn a_stale_read_is_found_and_shown() {
        let log = Log::new();
        let (old, put_old) = commit(Expect::Any, Write::Put);
        let (new, put_new) = commit(Expect::Any, Write::Put);
        for _ in 0..20 {
            at_once(&log, 3, get(), found(None));
        }
        at_once(&log, 0, put_old, done());
        at_once(&log, 1, put_new, done());
        at_once(&log, 0, get(), found(Some(new)));
        at_once(&log, 2, get(), found(Some(old)));
        for _ in 0..20 {
            at_once(&log, 3, get(), found(Some(new)));
        }
        let text = violation(log);
        assert!(
            text.contains(&format!("get 0 -> {} <- here", short(old))),
            "{text}"
        );
        assert!(text.lines().count() <= 6, "more than the window:\n{text}");
    }

    #[test]
    fn a_lost_update_is_found() {
        let log = Log::new();
        let (start, put) = commit(Expect::Absent, Write::Put);
        at_once(&log, 0, put, done());
        let (_, one) = commit(Expect::Version(start), Write::Put);
        let (_, other) = commit(Expect::Version(start), Write::Put);
        let a = log.begin(1, "a", one);
        let b = log.begin(2, "a", other);
        log.end(a, done());
        log.end(b, done());
        let text = violation(log);
        assert!(text.contains(&format!("if {}", short(start))), "{text}");
    }

    #[test]
    fn a_resurrected_record_is_found() {
        let log = Log::new();
        let (version, put) = commit(Expect::Any, Write::Put);
        let (_, delete) = commit(Expect::Present, Write::Delete);
        at_once(&log, 0, put, done());
        at_once(&log, 1, delete, done());
        at_once(&log, 0, get(), found(Some(version)));
        assert!(violation(log).contains("delete 0 if Present -> done"));
    }

    #[test]
    fn a_refusal_must_tell_what_was_there() {
        let log = Log::new();
        let (_, put) = commit(Expect::Any, Write::Put);
        let (_, again) = commit(Expect::Absent, Write::Put);
        at_once(&log, 0, put, done());
        let refused = RegistersAnswer::Refused(vec![(0, None)]);
        at_once(&log, 1, again, Outcome::Answered(refused));
        violation(log);
    }

    #[test]
    fn an_unknown_call_may_take_effect_late_or_never_but_once() {
        let (version, put) = commit(Expect::Any, Write::Put);
        let (_, delete) = commit(Expect::Present, Write::Delete);
        for (reads, fine) in [
            (vec![None, None], true),
            (vec![None, Some(version)], true),
            (vec![Some(version), None], false),
        ] {
            let log = Log::new();
            at_once(&log, 0, put.clone(), Outcome::Unknown);
            for read in reads {
                at_once(&log, 1, get(), found(read));
            }
            assert_eq!(check(&Registers, &log.finish()).is_ok(), fine);
        }
        // Twice: seen, deleted, seen again.
        let log = Log::new();
        at_once(&log, 0, put, Outcome::Unknown);
        at_once(&log, 1, delete, done());
        at_once(&log, 1, get(), found(Some(version)));
        violation(log);
    }

    #[test]
    fn a_failed_call_is_as_if_it_had_not_been() {
        let log = Log::new();
        let (version, put) = commit(Expect::Any, Write::Put);
        at_once(&log, 0, put, Outcome::Failed);
        at_once(&log, 1, get(), found(Some(version)));
        violation(log);
    }

    #[test]
    fn half_of_a_commit_is_found() {
        let log = Log::new();
        let version = Version::unique();
        let items = vec![(0, Expect::Any, Write::Put), (1, Expect::Any, Write::Put)];
        let both = log.begin(0, "a", RegistersCall::Commit(version, items));
        at_once(&log, 1, RegistersCall::Get(0), found(Some(version)));
        at_once(&log, 1, RegistersCall::Get(1), found(None));
        log.end(both, done());
        violation(log);
    }

    #[test]
    fn write_skew_is_found() {
        let log = Log::new();
        let skew = |checked, put| {
            let items = vec![
                (checked, Expect::Absent, Write::Check),
                (put, Expect::Absent, Write::Put),
            ];
            RegistersCall::Commit(Version::unique(), items)
        };
        let a = log.begin(0, "a", skew(0, 1));
        let b = log.begin(1, "a", skew(1, 0));
        log.end(a, done());
        log.end(b, done());
        violation(log);
    }

    #[test]
    fn keys_are_checked_by_themselves() {
        let log = Log::new();
        for key in ["a", "b", "c"] {
            let (version, put) = commit(Expect::Absent, Write::Put);
            let call = log.begin(0, key, put);
            log.end(call, done());
            let call = log.begin(0, key, get());
            log.end(call, found(Some(version)));
        }
        assert_eq!(check(&Registers, &log.finish()), Ok(6));
    }
}
