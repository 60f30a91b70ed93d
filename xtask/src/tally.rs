//! Counts of tests.

/// The result of a run of tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed, and whatever else went wrong.
    pub failed: usize,
    /// Tests that are marked as ignored.
    pub ignored: usize,
    /// What failed, each in a few lines.
    pub failures: Vec<String>,
    /// What could not be tested on this machine: neither passed nor failed.
    pub unproven: Vec<String>,
}

impl Tally {
    /// The counts in the `test result:` lines of a test program's output.
    pub fn read(output: &str) -> Self {
        let mut tally = Self::default();
        for line in output.lines() {
            let Some(result) = line.trim().strip_prefix("test result: ") else {
                continue;
            };
            let counts = result.split_once(". ").map_or(result, |(_, counts)| counts);
            for count in counts.split("; ") {
                let Some((number, what)) = count.split_once(' ') else {
                    continue;
                };
                let number = number.parse().unwrap_or(0);
                match what {
                    "passed" => tally.passed += number,
                    "failed" => tally.failed += number,
                    "ignored" => tally.ignored += number,
                    _ => {}
                }
            }
        }
        tally
    }

    /// Counts one failure.
    pub fn fail(&mut self, what: impl Into<String>) {
        self.failed += 1;
        self.failures.push(what.into());
    }

    /// The last lines of a command: what could not be tested, and the counts.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for unproven in &self.unproven {
            text.push_str(&format!("NOT PROVEN on this machine: {unproven}\n"));
        }
        text.push_str(&format!("{} passed, {} failed", self.passed, self.failed));
        if !self.unproven.is_empty() {
            text.push_str(&format!(", {} NOT PROVEN", self.unproven.len()));
        }
        text
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.failures.extend(other.failures);
        self.unproven.extend(other.unproven);
    }

    /// `12 passed`, and the other counts if there are any.
    pub fn shown(&self) -> String {
        let mut text = format!("{} passed", self.passed);
        for (count, what) in [(self.failed, "failed"), (self.ignored, "ignored")] {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_result_lines_are_added() {
        let tally = Tally::read(
            "test a ... ok\n\
             test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
             all done\n\
             test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\n",
        );
        assert_eq!((tally.passed, tally.failed, tally.ignored), (5, 4, 1));
    }
}
