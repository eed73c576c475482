//! How far a rule or a judge agrees with people: the confusion table, and Cohen's kappa with its interval.

use serde::Serialize;

/// Counts of accept and reject by a person and by what is measured against them. Cases that either left undecided do not
/// belong here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// Both accept.
    pub both_accept: u64,
    /// The person accepts, the other rejects: a reward withheld.
    pub false_reject: u64,
    /// The person rejects, the other accepts: a reward that teaches a hack.
    pub false_accept: u64,
    /// Both reject.
    pub both_reject: u64,
}

/// Agreement beyond chance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Kappa {
    /// (observed − expected) / (1 − expected), in [−1, 1].
    pub kappa: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
}

impl Confusion {
    /// Counts one case.
    pub fn add(&mut self, person_accepts: bool, other_accepts: bool) {
        *match (person_accepts, other_accepts) {
            (true, true) => &mut self.both_accept,
            (true, false) => &mut self.false_reject,
            (false, true) => &mut self.false_accept,
            (false, false) => &mut self.both_reject,
        } += 1;
    }

    /// Cases counted.
    pub fn cases(&self) -> u64 {
        self.both_accept + self.false_reject + self.false_accept + self.both_reject
    }

    /// Cohen's kappa (Cohen, 1960) with the large-sample standard error of Fleiss, Cohen and Everitt (1969), 95 %.
    ///
    /// `None` where it is not defined: no cases, or both sides always give the same one answer.
    pub fn kappa(&self) -> Option<Kappa> {
        let n = self.cases() as f64;
        let p = [[self.both_accept, self.false_reject], [self.false_accept, self.both_reject]]
            .map(|row| row.map(|count| count as f64 / n));
        let person = [p[0][0] + p[0][1], p[1][0] + p[1][1]];
        let other = [p[0][0] + p[1][0], p[0][1] + p[1][1]];
        let expected = person[0] * other[0] + person[1] * other[1];
        // NaN: no cases.
        if expected.is_nan() || expected >= 1.0 {
            return None;
        }
        let kappa = (p[0][0] + p[1][1] - expected) / (1.0 - expected);
        let off = 1.0 - kappa;
        let agreeing: f64 = (0..2).map(|i| p[i][i] * (1.0 - (person[i] + other[i]) * off).powi(2)).sum();
        let differing: f64 =
            [(0, 1), (1, 0)].map(|(i, j)| p[i][j] * (other[i] + person[j]).powi(2)).iter().sum();
        let bias = (kappa - expected * off).powi(2);
        let variance = (agreeing + off * off * differing - bias) / (n * (1.0 - expected).powi(2));
        let half = 1.959_963_984_540_054 * variance.max(0.0).sqrt();
        Some(Kappa { kappa, low: (kappa - half).max(-1.0), high: (kappa + half).min(1.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(both_accept: u64, false_reject: u64, false_accept: u64, both_reject: u64) -> Confusion {
        Confusion { both_accept, false_reject, false_accept, both_reject }
    }

    #[test]
    fn kappa_and_its_interval_are_those_worked_out_by_hand() {
        // Observed 0.7, expected 0.5, so 0.4. Variance: (0.4·0.34² + 0.3·0.46² + 0.36·(0.1·1.1² + 0.2·0.9²) − 0.1²)
        // / (50·0.25) = 0.2016 / 12.5 = 0.016128, its root 0.126996.
        let k = table(20, 5, 10, 15).kappa().unwrap();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-5, "{a} {b}");
        close(k.kappa, 0.4);
        close(k.low, 0.4 - 1.959964 * 0.126996);
        close(k.high, 0.4 + 1.959964 * 0.126996);
        // Observed 0.6; expected 0.6·0.7 + 0.4·0.3 = 0.54.
        close(table(45, 15, 25, 15).kappa().unwrap().kappa, 0.06 / 0.46);
        // All agree: 1 without spread. All disagree, evenly: −1.
        let k = table(3, 0, 0, 5).kappa().unwrap();
        assert_eq!((k.kappa, k.low, k.high), (1.0, 1.0, 1.0));
        close(table(0, 4, 4, 0).kappa().unwrap().kappa, -1.0);
    }

    #[test]
    fn kappa_is_undefined_where_chance_explains_everything() {
        assert_eq!(Confusion::default().kappa(), None);
        assert_eq!(table(7, 0, 0, 0).kappa(), None);
        assert_eq!(table(0, 0, 0, 7).kappa(), None);
        // One side constant, the other not: defined, and 0.
        assert_eq!(table(5, 0, 3, 0).kappa().unwrap().kappa, 0.0);
    }

    #[test]
    fn cases_are_counted_where_they_belong() {
        let mut t = Confusion::default();
        for (person, other) in [(true, true), (true, false), (false, true), (false, false), (false, true)] {
            t.add(person, other);
        }
        assert_eq!(t, table(1, 1, 2, 1));
        assert_eq!(t.cases(), 5);
    }
}
