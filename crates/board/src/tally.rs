//! Who was right how often, by model and by the number of objects.

use std::collections::BTreeMap;

use serde::Serialize;

/// One judged answer, as the page keeps it and hands it out: a line of JSON with the names of `trainer eval`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// The model, by its name in the list.
    pub model: String,
    /// The seed of the run that it belongs to; none for a scene of the person's own.
    pub seed: Option<u64>,
    /// Index of the scene under that seed.
    pub row: Option<u64>,
    /// Shapes in the scene.
    pub objects: u8,
    /// The question, as it was asked.
    pub question: String,
    /// The answer of the scene.
    pub truth: String,
    /// All that the model wrote.
    pub response: String,
    /// Whether the rule verifier accepts it.
    pub accepted: bool,
    /// Objects whose line in the thought is right in place, colour, shape and mark.
    pub seen: usize,
}

/// Right answers, and all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Accepted.
    pub right: u32,
    /// Judged.
    pub asked: u32,
}

/// What was counted so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<(String, u8), Share>);

impl Tally {
    /// Counts an answer.
    pub fn add(&mut self, judged: &Judged) {
        let share = self.0.entry((judged.model.clone(), judged.objects)).or_default();
        share.right += u32::from(judged.accepted);
        share.asked += 1;
    }

    /// A model's answers on scenes of so many objects.
    pub fn at(&self, model: &str, objects: u8) -> Share {
        self.0.get(&(model.to_owned(), objects)).copied().unwrap_or_default()
    }

    /// All of a model's answers.
    pub fn of(&self, model: &str) -> Share {
        let own = self.0.iter().filter(|((name, _), _)| name == model);
        own.fold(Share::default(), |sum, (_, share)| Share {
            right: sum.right + share.right,
            asked: sum.asked + share.asked,
        })
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Share {
    /// The share of right answers, in [0, 1]; 0 of none.
    pub fn part(self) -> f64 {
        f64::from(self.right) / f64::from(self.asked.max(1))
    }

    /// Its 95 % interval, in [0, 1] (Wilson, JASA 22, 1927).
    pub fn interval(self) -> [f64; 2] {
        const Z: f64 = 1.959_963_984_540_054;
        let (n, p) = (f64::from(self.asked), self.part());
        if self.asked == 0 {
            return [0.0, 1.0];
        }
        let middle = p + Z * Z / (2.0 * n);
        let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        let whole = 1.0 + Z * Z / n;
        [(middle - half) / whole, (middle + half) / whole].map(|end| end.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(model: &str, objects: u8, accepted: bool) -> Judged {
        Judged {
            model: model.into(),
            seed: None,
            row: None,
            objects,
            question: String::new(),
            truth: String::new(),
            response: String::new(),
            accepted,
            seen: 0,
        }
    }

    #[test]
    fn answers_are_counted_by_model_and_objects() {
        let mut tally = Tally::default();
        for (model, objects, accepted) in [("a", 3, true), ("a", 3, false), ("a", 4, true), ("b", 3, false)] {
            tally.add(&judged(model, objects, accepted));
        }
        assert_eq!(tally.of("a"), Share { right: 2, asked: 3 });
        assert_eq!(tally.at("a", 3), Share { right: 1, asked: 2 });
        assert_eq!((tally.at("b", 4), tally.of("c")), (Share::default(), Share::default()));
        assert!(!tally.is_empty());
    }

    #[test]
    fn intervals_are_those_of_the_literature() {
        // Newcombe, Statistics in Medicine 17, 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        for (right, asked, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let [a, b] = Share { right, asked }.interval();
            assert!((a - low).abs() < 1e-4 && (b - high).abs() < 1e-4, "{right} of {asked}: {a} to {b}");
        }
        assert_eq!(Share::default().interval(), [0.0, 1.0]);
    }
}
