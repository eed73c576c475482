//! Questions whose answer is known to be wrong, put among the others.

use super::Question;
use crate::key::Key;

/// Questions for each of which a canary is asked as well, as a share.
pub const CANARY_SHARE: f64 = 0.01;

/// Wrong whatever is asked: things that stand in no picture, and openings that fool judges.
const WRONG: [&str; 8] = [
    "a purple submarine made of glass",
    "Thought process:",
    "seventeen thousand lighthouses",
    "Let's solve this problem step by step.",
    "the alphabet recited backwards",
    "Solution",
    "forty wooden violins under water",
    ":",
];

/// Whether a canary goes with the case: by its content and the seed, so that a run that is resumed asks the same.
pub fn canary_due(case: Key, seed: u64) -> bool {
    let hash = case.with(&seed.to_string()).0 as u32;
    f64::from(hash) < CANARY_SHARE * f64::from(u32::MAX)
}

impl Question {
    /// The same question with an answer that is wrong. Any score above 0 for it is an alarm.
    pub fn canary(&self, seed: u64) -> Self {
        let words = |text: &str| crate::words::normal_words(text, false);
        let truths: Vec<String> = self.references.iter().flat_map(|text| words(text)).collect();
        let start = self.candidate.len() % WRONG.len();
        let mut in_turn = (0..WRONG.len()).map(|i| WRONG[(start + i) % WRONG.len()]);
        // The last has no words, so one is always found.
        let wrong = in_turn.find(|wrong| words(wrong).iter().all(|word| !truths.contains(word)));
        let wrong = wrong.unwrap_or(":").to_owned();
        Self::new(self.task, self.problem.clone(), self.references.clone(), wrong, seed)
    }
}
