//! One row of logits to one token, as transformers does it: repetition penalty, suppressed ids, temperature, top-k, top-p.

/// How a token is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 takes the best token; otherwise logits are divided by it.
    pub temperature: f64,
    /// Keeps the k best tokens, and those that tie with the last of them.
    pub top_k: Option<usize>,
    /// Keeps the smallest set of best tokens whose probability reaches p.
    pub top_p: Option<f64>,
    /// Divides positive and multiplies negative logits of every token seen in prompt or answer (Keskar et al., arXiv
    /// 1909.05858). 1 changes nothing.
    pub repetition_penalty: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: None, top_p: None, repetition_penalty: 1.0 }
    }
}

/// Why no token can be chosen.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SamplingError {
    /// A setting outside its range.
    #[error("{name} is {value}; it must be {range}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What is accepted.
        range: &'static str,
    },
    /// The logits hold no finite number.
    #[error("the model gave no finite logit; the checkpoint or the arithmetic is broken")]
    NotFinite,
}

/// A chosen token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// Its id.
    pub id: u32,
    /// log p of it under softmax(logits / temperature), before penalty, bans and filters; temperature 1 when greedy.
    pub logprob: f32,
}

impl Sampling {
    /// Refuses settings outside their ranges.
    pub fn check(&self) -> Result<(), SamplingError> {
        let fail = |name, value, range| Err(SamplingError::Setting { name, value, range });
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return fail("temperature", self.temperature, "0 (greedy) or positive");
        }
        if self.top_k == Some(0) {
            return fail("top-k", 0.0, "at least 1");
        }
        if let Some(p) = self.top_p
            && !(p > 0.0 && p <= 1.0)
        {
            return fail("top-p", p, "above 0 and at most 1");
        }
        if !(self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0) {
            return fail("repetition penalty", self.repetition_penalty, "positive; 1 changes nothing");
        }
        Ok(())
    }

    /// Chooses from `logits` `[V]`. `seen` are the ids of prompt and answer so far, `banned` ids are never chosen, and
    /// `draw` gives the uniform number that decides when the temperature is not 0.
    pub fn choose(
        &self,
        logits: &[f32],
        seen: &[u32],
        banned: impl IntoIterator<Item = u32>,
        draw: impl FnOnce() -> f64,
    ) -> Result<Choice, SamplingError> {
        let mut scores = logits.to_vec();
        self.penalise(&mut scores, seen);
        for id in banned {
            if let Some(score) = scores.get_mut(id as usize) {
                *score = f32::NEG_INFINITY;
            }
        }
        let greedy = self.temperature == 0.0;
        let id = if greedy { best(&scores) } else { self.sample(&mut scores, draw()) };
        let id = id.ok_or(SamplingError::NotFinite)?;
        let temperature = if greedy { 1.0 } else { self.temperature };
        Ok(Choice { id: id as u32, logprob: logprob(logits, id, temperature) })
    }

    fn penalise(&self, scores: &mut [f32], seen: &[u32]) {
        if self.repetition_penalty == 1.0 {
            return;
        }
        let penalty = self.repetition_penalty as f32;
        let distinct: std::collections::BTreeSet<u32> = seen.iter().copied().collect();
        for id in distinct {
            if let Some(score) = scores.get_mut(id as usize) {
                *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
            }
        }
    }

    fn sample(&self, scores: &mut [f32], draw: f64) -> Option<usize> {
        let temperature = self.temperature as f32;
        scores.iter_mut().for_each(|score| *score /= temperature);
        let mut order: Vec<usize> = (0..scores.len()).filter(|&i| scores[i] > f32::NEG_INFINITY).collect();
        if let Some(k) = self.top_k
            && k < order.len()
        {
            let (_, &mut kth, _) =
                order.select_nth_unstable_by(k - 1, |&a, &b| scores[b].total_cmp(&scores[a]));
            let least = scores[kth];
            order.retain(|&i| scores[i] >= least);
        }
        let top = order.iter().map(|&i| scores[i]).fold(f32::NEG_INFINITY, f32::max);
        if !top.is_finite() {
            return None;
        }
        let weight = |i: usize| f64::from(scores[i] - top).exp();
        if let Some(p) = self.top_p.filter(|&p| p < 1.0) {
            // Best first; equal scores by id, so that the kept set does not depend on the sort.
            order.sort_unstable_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
            let total: f64 = order.iter().map(|&i| weight(i)).sum();
            let mut mass = 0.0;
            let kept = order.iter().take_while(|&&i| {
                let before = mass;
                mass += weight(i) / total;
                before < p
            });
            let kept = kept.count();
            order.truncate(kept.max(1));
        }
        order.sort_unstable();
        let total: f64 = order.iter().map(|&i| weight(i)).sum();
        let mut left = draw * total;
        for &i in &order {
            left -= weight(i);
            if left < 0.0 {
                return Some(i);
            }
        }
        order.last().copied()
    }
}

/// Index of the largest finite score, the first of equals.
fn best(scores: &[f32]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (i, score) in scores.iter().enumerate() {
        if score.is_finite() && best.is_none_or(|b| *score > scores[b]) {
            best = Some(i);
        }
    }
    best
}

/// log softmax(logits / temperature) at `id`, summed in f64 and rounded once.
fn logprob(logits: &[f32], id: usize, temperature: f64) -> f32 {
    let scaled = |x: f32| f64::from(x) / temperature;
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| (scaled(x) - scaled(top)).exp()).sum();
    (scaled(logits[id]) - scaled(top) - sum.ln()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uniform;

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, -1.0, 2.0];

    fn frequencies(sampling: &Sampling, banned: &[u32]) -> Vec<f64> {
        let mut counts = vec![0.0; LOGITS.len()];
        let n = 20_000;
        for i in 0..n {
            let choice = sampling.choose(&LOGITS, &[], banned.iter().copied(), || uniform(5, 0, 0, 0, i));
            counts[choice.expect("finite logits").id as usize] += 1.0 / f64::from(n);
        }
        counts
    }

    #[test]
    fn greedy_takes_the_first_of_the_best_and_its_log_probability_ignores_bans() {
        let choice =
            Sampling::default().choose(&[1.0, 2.0, 2.0, 9.0], &[], [3], || unreachable!()).expect("finite");
        assert_eq!(choice.id, 1);
        let sum: f64 = [1.0f64, 2.0, 2.0, 9.0].iter().map(|x| x.exp()).sum();
        assert!((f64::from(choice.logprob) - (2.0 - sum.ln())).abs() < 1e-6);
    }

    #[test]
    fn samples_follow_the_softmax() {
        let sampling = Sampling { temperature: 2.0, ..Sampling::default() };
        let total: f64 = LOGITS.iter().map(|&x| f64::from(x / 2.0).exp()).sum();
        for (got, &logit) in frequencies(&sampling, &[]).iter().zip(&LOGITS) {
            assert!((got - f64::from(logit / 2.0).exp() / total).abs() < 0.015);
        }
    }

    #[test]
    fn top_k_keeps_ties_and_top_p_the_smallest_sufficient_set() {
        let top_k = Sampling { temperature: 1.0, top_k: Some(2), ..Sampling::default() };
        let kept: Vec<bool> = frequencies(&top_k, &[]).iter().map(|&f| f > 0.0).collect();
        assert_eq!(kept, [false, true, true, false, true]);
        // Probabilities 0.08, 0.52, 0.19, 0.01, 0.19: two reach 0.6 (the tie is broken by id), one does not.
        let top_p = Sampling { temperature: 1.0, top_p: Some(0.6), ..Sampling::default() };
        let kept: Vec<bool> = frequencies(&top_p, &[]).iter().map(|&f| f > 0.0).collect();
        assert_eq!(kept, [false, true, true, false, false]);
        let banned = frequencies(&top_p, &[1]);
        assert_eq!(banned[1], 0.0);
    }

    #[test]
    fn the_penalty_pushes_both_signs_down_once_per_id() {
        let mut scores = LOGITS.to_vec();
        let sampling = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
        sampling.penalise(&mut scores, &[1, 1, 3, 99]);
        assert_eq!(scores, [1.0, 1.5, 2.0, -2.0, 2.0]);
    }

    #[test]
    fn logits_without_a_finite_number_are_an_error() {
        let greedy = Sampling::default();
        assert_eq!(greedy.choose(&[f32::NAN; 3], &[], [], || 0.5), Err(SamplingError::NotFinite));
        let warm = Sampling { temperature: 1.0, ..Sampling::default() };
        assert_eq!(warm.choose(&[f32::NAN; 3], &[], [], || 0.5), Err(SamplingError::NotFinite));
        assert_eq!(warm.choose(&[1.0, 2.0], &[], [0, 1], || 0.5), Err(SamplingError::NotFinite));
    }

    #[test]
    fn settings_outside_their_range_are_named() {
        for (sampling, name) in [
            (Sampling { temperature: -1.0, ..Sampling::default() }, "temperature"),
            (Sampling { temperature: f64::NAN, ..Sampling::default() }, "temperature"),
            (Sampling { top_k: Some(0), ..Sampling::default() }, "top-k"),
            (Sampling { top_p: Some(0.0), ..Sampling::default() }, "top-p"),
            (Sampling { top_p: Some(1.5), ..Sampling::default() }, "top-p"),
            (Sampling { repetition_penalty: 0.0, ..Sampling::default() }, "repetition penalty"),
        ] {
            let error = sampling.check().expect_err(name).to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
