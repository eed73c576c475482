//! What people say: labels over verdicts, and how far rules and judge agree with them.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use wethink_reward::{Choice, Confusion, Decision, Key, Label, Tier, Verdict};

use super::cases::Entry;

/// Faulty lines that are listed before the rest is counted.
const LISTED: usize = 10;

/// Labels, by the cases they are about.
#[derive(Debug, Default)]
pub struct Labels {
    by_key: HashMap<Key, Opinions>,
    by_id: HashMap<String, Opinions>,
}

/// Each annotator's last word on a case.
type Opinions = BTreeMap<String, Choice>;

/// What all annotators of a case together say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// All who can tell accept.
    Accept,
    /// All who can tell reject.
    Reject,
    /// Nobody can tell, or those who can differ: nothing is overridden.
    Open,
}

impl Labels {
    /// Reads a file of labels (its form is [`Label`]'s). A line that is none ends the run: a reward that a person overrode must
    /// not come back unnoticed.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("{name}: cannot be read"))?;
        let mut labels = Self::default();
        let mut faults = Vec::new();
        for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            match Label::from_line(line.trim_start_matches('\u{feff}')) {
                Ok(label) => labels.add(label),
                Err(error) => faults.push(format!("{name}: line {}: {error}", i + 1)),
            }
        }
        match faults.len() {
            0 => Ok(labels),
            n => {
                let more = if n > LISTED { format!("\nand {} more", n - LISTED) } else { String::new() };
                bail!("{}{more}", faults[..n.min(LISTED)].join("\n"))
            }
        }
    }

    fn add(&mut self, label: Label) {
        let opinions = match (label.key, label.id) {
            (Some(key), _) => self.by_key.entry(key).or_default(),
            (None, Some(id)) => self.by_id.entry(id.to_string()).or_default(),
            (None, None) => return,
        };
        opinions.insert(label.annotator, label.choice);
    }

    /// What people say about each of `entries`, and how many labels' cases are not among them.
    ///
    /// An id that several different responses share names none of them.
    pub fn about(&self, entries: &[Entry]) -> (Vec<Option<Word>>, usize) {
        let mut keys_of = HashMap::<String, Vec<Key>>::new();
        for entry in entries {
            let keys = keys_of.entry(entry.id.to_string()).or_default();
            if let Ok(case) = &entry.case
                && !keys.contains(&case.key)
            {
                keys.push(case.key);
            }
        }
        let word = |entry: &Entry| {
            let case = entry.case.as_ref().ok()?;
            let id = entry.id.to_string();
            let by_id =
                || self.by_id.get(&id).filter(|_| keys_of.get(&id).is_some_and(|keys| keys.len() == 1));
            self.by_key.get(&case.key).or_else(by_id).map(together)
        };
        let words = entries.iter().map(word).collect();
        let known: Vec<&Key> = keys_of.values().flatten().collect();
        let keys: std::collections::HashSet<&Key> = known.into_iter().collect();
        let strays = self.by_key.keys().filter(|key| !keys.contains(key)).count();
        let unnamed =
            self.by_id.keys().filter(|id| keys_of.get(*id).is_none_or(|keys| keys.len() != 1)).count();
        (words, strays + unnamed)
    }
}

fn together(opinions: &Opinions) -> Word {
    let says = |choice: Choice| opinions.values().any(|c| *c == choice);
    match (says(Choice::Accept), says(Choice::Reject)) {
        (true, false) => Word::Accept,
        (false, true) => Word::Reject,
        _ => Word::Open,
    }
}

/// Confusion with people, by who decided.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Agreement {
    tables: BTreeMap<&'static str, Confusion>,
    open: usize,
    undecided: usize,
}

impl Agreement {
    /// Counts one labelled case with the verdict it had before the label.
    pub fn add(&mut self, word: Word, verdict: &Verdict) {
        let accepts = match verdict.verdict {
            Decision::Accept => true,
            Decision::Reject => false,
            Decision::Unsure => {
                self.undecided += 1;
                return;
            }
        };
        let person = match word {
            Word::Accept => true,
            Word::Reject => false,
            Word::Open => {
                self.open += 1;
                return;
            }
        };
        let who = match verdict.tier {
            Tier::Judge => "judge",
            Tier::Filter => "pre-filter",
            _ => "rule",
        };
        for name in [who, "all"] {
            self.tables.entry(name).or_default().add(person, accepts);
        }
    }

    /// The tables as text.
    pub fn report(&self) -> String {
        let mut out = String::from("agreement with people; kappa is Cohen's, with its 95 % interval\n");
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "{:<11}{:>12}{:>14}{:>14}{:>13}  kappa",
            "", "both accept", "false reject", "false accept", "both reject"
        );
        for name in ["rule", "pre-filter", "judge", "all"] {
            let Some(t) = self.tables.get(name) else { continue };
            let kappa = match t.kappa() {
                Some(k) => format!("{:.3} [{:.3}, {:.3}]", k.kappa, k.low, k.high),
                None => "undefined: one answer throughout".to_owned(),
            };
            let _ = writeln!(
                out,
                "{name:<11}{:>12}{:>14}{:>14}{:>13}  {kappa}",
                t.both_accept, t.false_reject, t.false_accept, t.both_reject
            );
        }
        let _ = write!(
            out,
            "left out: {} on which people are unsure or differ, {} without a verdict",
            self.open, self.undecided
        );
        out
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wethink_reward::{Kind, Record, verify};

    use super::super::cases::Case;
    use super::*;

    fn entry(id: &str, response: &str) -> Entry {
        let record = Record::new(Kind::Number, "42", response);
        let key = Key::of("How many?", &record.golds, &record.pred);
        let case = Case { problem: "How many?".into(), images: vec![], record, tokens: None, key };
        Entry { line: 1, id: json!(id), case: Ok(case) }
    }

    fn labels(lines: &[String]) -> Result<Labels> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("labels.jsonl");
        std::fs::write(&path, lines.join("\n")).expect("written");
        Labels::read(&path)
    }

    #[test]
    fn labels_find_their_cases_by_key_and_by_an_id_that_names_one() {
        let entries = [entry("a", "42"), entry("b", "41"), entry("c", "1"), entry("c", "2"), entry("d", "3")];
        let key = |i: usize| entries[i].case.as_ref().expect("a case").key.to_string();
        let lines = [
            json!({"key": key(0), "label": "accept", "annotator": "kim"}).to_string(),
            json!({"key": key(0), "label": "reject", "annotator": "kim"}).to_string(),
            json!({"id": "b", "label": "accept"}).to_string(),
            json!({"id": "c", "label": "accept"}).to_string(),
            json!({"key": key(3), "label": "accept", "annotator": "kim"}).to_string(),
            json!({"key": key(3), "label": "reject", "annotator": "lee"}).to_string(),
            json!({"key": "0".repeat(32), "label": "accept"}).to_string(),
        ];
        let (words, strays) = labels(&lines).expect("labels").about(&entries);
        assert_eq!(words, [Some(Word::Reject), Some(Word::Accept), None, Some(Word::Open), None]);
        assert_eq!(strays, 2, "a key of no case, and an id of two");
    }

    #[test]
    fn faulty_labels_are_listed_by_line() {
        let lines = [json!({"id": "a", "label": "accept"}).to_string(), "{}".into(), "x".into()];
        let error = labels(&lines).expect_err("two are none").to_string();
        let named = |n: usize| error.contains(&format!("labels.jsonl: line {n}: "));
        assert!(named(2) && named(3) && !named(1), "{error}");
    }

    #[test]
    fn agreement_is_counted_by_who_decided() {
        let mut agreement = Agreement::default();
        let verdict = |response: &str| verify(&Record::new(Kind::Number, "42", response)).expect("a truth");
        agreement.add(Word::Accept, &verdict("42"));
        agreement.add(Word::Reject, &verdict("42"));
        agreement.add(Word::Reject, &verdict("41"));
        agreement.add(Word::Open, &verdict("41"));
        let report = agreement.report();
        let cells = |name: &str| {
            let line = report.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        // Observed 2/3; expected (1/3)(2/3) + (2/3)(1/3) = 4/9; kappa (2/9) / (5/9) = 0.4.
        assert_eq!(cells("rule")[..6], ["rule", "1", "0", "1", "1", "0.400"], "{report}");
        assert_eq!(cells("all")[1..], cells("rule")[1..]);
        assert!(report.contains("left out: 1 on which") && !report.contains("\njudge"), "{report}");
    }
}
