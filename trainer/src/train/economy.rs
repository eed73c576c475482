//! The recipe's section on memory, and how the samples of a step are divided among passes, and passes among devices.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use wethink_model::Economy;

/// How a step lies in memory. None of it changes a result beyond rounding.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// How the sequences of a pass lie.
    pub layout: Layout,
    /// Keep each layer's input alone and compute the rest again in the backward pass.
    pub recompute_layers: bool,
    /// Megabytes that the scores of one attention, or the logits, may take at once.
    pub chunk_mb: f64,
    /// Megabytes of features of a frozen tower that are kept in memory; 0 computes them for every row anew.
    pub features_mb: f64,
    /// Megabytes of them that are kept in the run folder besides.
    pub features_disk_mb: f64,
}

/// How sequences lie in a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Each in a row of its own, padded to the longest.
    #[default]
    Padded,
    /// One after another without padding, none seeing another.
    Packed,
}

impl Default for Memory {
    fn default() -> Self {
        let chunk_mb = (4 * Economy::default().at_once) as f64 / MEGABYTE;
        Self {
            layout: Layout::Padded,
            recompute_layers: false,
            chunk_mb,
            features_mb: 0.0,
            features_disk_mb: 0.0,
        }
    }
}

/// Bytes.
const MEGABYTE: f64 = 1e6;

impl Memory {
    /// Refuses values outside their range.
    pub fn check(&self) -> Result<()> {
        let Self { chunk_mb, features_mb, features_disk_mb, .. } = *self;
        for (field, value) in
            [("chunk_mb", chunk_mb), ("features_mb", features_mb), ("features_disk_mb", features_disk_mb)]
        {
            if !(value.is_finite() && value >= 0.0) {
                bail!("memory.{field} is {value}; it must be 0 or more");
            }
        }
        if features_disk_mb > 0.0 && features_mb == 0.0 {
            bail!(
                "memory.features_disk_mb needs memory.features_mb: what is read from disk passes through memory"
            );
        }
        Ok(())
    }

    /// The same for the model.
    pub fn economy(&self) -> Economy {
        Economy {
            packed: self.layout == Layout::Packed,
            recompute_layers: self.recompute_layers,
            at_once: (self.chunk_mb * MEGABYTE / 4.0).round() as usize,
        }
    }

    /// Bytes of features kept in memory and on disk.
    pub fn features(&self) -> [u64; 2] {
        [self.features_mb, self.features_disk_mb].map(|megabytes| (megabytes * MEGABYTE) as u64)
    }
}

/// How many sequences a pass takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Portion {
    /// So many, in the order drawn.
    Rows(usize),
    /// As many as have no more tokens than this together, or one that is longer.
    Tokens(usize),
}

/// Divides the samples of a step, given by their tokens, among as few passes as the portion allows; each is a list of
/// places, ascending.
///
/// Passes of a number of tokens are balanced: the longest sequences are dealt first, each to the pass that has the fewest
/// tokens so far (Graham, "Bounds on multiprocessing timing anomalies", 1969: at most a third above the best division).
pub fn passes(tokens: &[usize], portion: Portion) -> Vec<Vec<usize>> {
    passes_for(tokens, portion, 1)
}

/// As [`passes`], for a step that `devices` share: none is without a pass while another has several sequences in one, and
/// passes of a number of tokens are as many for each device.
pub fn passes_for(tokens: &[usize], portion: Portion, devices: usize) -> Vec<Vec<usize>> {
    let all: Vec<usize> = (0..tokens.len()).collect();
    let limit = match portion {
        Portion::Rows(rows) => {
            let rows = rows.min(all.len().div_ceil(devices)).max(1);
            return all.chunks(rows).map(<[usize]>::to_vec).collect();
        }
        Portion::Tokens(limit) => limit,
    };
    let fewest = tokens.iter().map(|&tokens| tokens.min(limit)).sum::<usize>().div_ceil(limit);
    for count in (fewest.next_multiple_of(devices)..tokens.len()).step_by(devices) {
        let mut passes = deal(tokens, count);
        if passes.iter().all(|pass| pass.len() == 1 || total(tokens, pass) <= limit) {
            passes.sort_unstable();
            return passes;
        }
    }
    (0..tokens.len()).map(|place| vec![place]).collect()
}

/// Deals things of these weights to so many hands, the heaviest first, each to the hand that holds least so far; every hand
/// is a list of places, ascending.
pub fn deal(weights: &[usize], hands: usize) -> Vec<Vec<usize>> {
    let mut heaviest_first: Vec<usize> = (0..weights.len()).collect();
    heaviest_first.sort_by_key(|&place| std::cmp::Reverse(weights[place]));
    let mut dealt = vec![Vec::new(); hands];
    for place in heaviest_first {
        if let Some(least) = dealt.iter_mut().min_by_key(|hand| total(weights, hand)) {
            least.push(place);
        }
    }
    dealt.iter_mut().for_each(|hand| hand.sort_unstable());
    dealt
}

fn total(weights: &[usize], places: &[usize]) -> usize {
    places.iter().map(|&place| weights[place]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_of_rows_follow_the_order_drawn() {
        assert_eq!(passes(&[5, 1, 9, 2, 2], Portion::Rows(2)), [vec![0, 1], vec![2, 3], vec![4]]);
    }

    #[test]
    fn passes_of_tokens_are_few_balanced_and_hold_everything_once() {
        let tokens = [50, 10, 40, 20, 30, 10, 60, 20];
        let divided = passes(&tokens, Portion::Tokens(80));
        let totals: Vec<usize> =
            divided.iter().map(|pass| pass.iter().map(|&place| tokens[place]).sum()).collect();
        assert_eq!(totals, [80, 80, 80], "{divided:?}");
        let mut places = divided.concat();
        places.sort_unstable();
        assert_eq!(places, (0..8).collect::<Vec<_>>());
        assert_eq!(
            passes(&[100, 3, 4], Portion::Tokens(10)),
            [vec![0], vec![1, 2]],
            "a longer one stands alone"
        );
        assert_eq!(passes(&[9, 9, 9], Portion::Tokens(10)), [vec![0], vec![1], vec![2]]);
        assert_eq!(passes(&[3, 3], Portion::Tokens(100)), [vec![0, 1]]);
    }

    #[test]
    fn every_device_has_its_share() {
        assert_eq!(passes_for(&[5, 1, 9, 2], Portion::Rows(4), 2), [vec![0, 1], vec![2, 3]]);
        assert_eq!(passes_for(&[5, 1, 9], Portion::Rows(4), 2), [vec![0, 1], vec![2]]);
        assert_eq!(passes_for(&[5], Portion::Rows(4), 2), [vec![0]]);
        let tokens = [50, 10, 40, 20, 30, 10, 60, 20];
        for (devices, count) in [(1, 3), (2, 4), (4, 4), (5, 5)] {
            let divided = passes_for(&tokens, Portion::Tokens(80), devices);
            assert_eq!(divided.len(), count, "{devices}: {divided:?}");
            let mut places = divided.concat();
            places.sort_unstable();
            assert_eq!(places, (0..8).collect::<Vec<_>>());
        }
        assert_eq!(deal(&[3, 9, 4, 2], 2), [vec![1], vec![0, 2, 3]]);
        assert_eq!(deal(&[7], 3), [vec![0], vec![], vec![]]);
    }

    #[test]
    fn values_outside_their_range_name_the_field() {
        let sound = Memory { features_mb: 1.0, features_disk_mb: 2.0, ..Memory::default() };
        sound.check().expect("sound");
        assert_eq!(sound.economy(), Economy::default());
        for wrong in [
            Memory { chunk_mb: f64::NAN, ..sound },
            Memory { features_mb: -1.0, ..sound },
            Memory { features_mb: 0.0, ..sound },
        ] {
            assert!(wrong.check().expect_err("refused").to_string().contains("memory."));
        }
    }
}
