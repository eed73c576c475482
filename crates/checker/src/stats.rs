//! How far the work is, and how far people and the rule agree.

use serde::{Deserialize, Serialize};
use wethink_reward::{Choice, Confusion};

use crate::filter::Shown;
use crate::sheet::{Sheet, decides};

/// Agreement of two sides on accept and reject, for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Cases that both decided.
    pub cases: u64,
    /// Of them, those on which they agree.
    pub same: u64,
    /// Accepted by the person, rejected by the other.
    pub false_reject: u64,
    /// Rejected by the person, accepted by the other.
    pub false_accept: u64,
    /// Cohen's kappa with its 95 % interval, where it is defined.
    pub kappa: Option<[f64; 3]>,
}

impl From<Confusion> for Agreement {
    fn from(table: Confusion) -> Self {
        Self {
            cases: table.cases(),
            same: table.both_accept + table.both_reject,
            false_reject: table.false_reject,
            false_accept: table.false_accept,
            kappa: table.kappa().map(|k| [k.kappa, k.low, k.high]),
        }
    }
}

/// Counts over the whole sheet, whatever is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Rows.
    pub rows: usize,
    /// Rows by verdict: accept, reject, unsure, fault.
    pub verdicts: [usize; 4],
    /// Rows by label: accept, reject, unsure.
    pub labels: [usize; 3],
    /// The person and the rule.
    pub rule: Agreement,
    /// The person and the second annotator.
    pub second: Agreement,
    /// Rows that the second annotator labelled.
    pub second_labels: usize,
    /// Rows on which two people said different things, unsure included.
    pub split: usize,
}

impl Sheet {
    /// Counts everything.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats { rows: self.len(), ..Stats::default() };
        let (mut rule, mut second) = (Confusion::default(), Confusion::default());
        for index in 0..self.len() {
            match self.verdict(index) {
                Shown::Accept => stats.verdicts[0] += 1,
                Shown::Reject => stats.verdicts[1] += 1,
                Shown::Unsure => stats.verdicts[2] += 1,
                Shown::Fault => stats.verdicts[3] += 1,
                Shown::Pending => {}
            }
            stats.second_labels += usize::from(self.seconds[index].is_some());
            let Some(mark) = self.marks[index].as_deref() else { continue };
            stats.labels[match mark.choice {
                Choice::Accept => 0,
                Choice::Reject => 1,
                Choice::Unsure => 2,
            }] += 1;
            if let Some((person, other)) = self.decided(index) {
                rule.add(person, other);
            }
            let other = self.seconds[index].as_deref().and_then(|mark| decides(mark.choice));
            if let (Some(person), Some(other)) = (decides(mark.choice), other) {
                second.add(person, other);
            }
            stats.split += usize::from(self.split(index));
        }
        Stats { rule: rule.into(), second: second.into(), ..stats }
    }
}
