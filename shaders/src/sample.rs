//! A token drawn from each row of logits: temperature, top-k and top-p as in transformers' warpers, by a given uniform draw.

use bytemuck::{Pod, Zeroable};

use crate::argmax::NONE;
use crate::case::{Bound, Case, Expected, Numbers, Slot, Values, words};
use crate::{Binding, Kernel, elements, fold};

/// The kernel's text.
pub const WGSL: &str = include_str!("sample.wgsl");

/// This kernel as data.
pub const KERNEL: Kernel = Kernel {
    name: "sample",
    wgsl: WGSL,
    workgroup: 256,
    bindings: &[Binding::read("logits"), Binding::read("draws"), Binding::written("ids")],
    params_bytes: size_of::<Params>(),
    cases,
};

/// The uniform block, field by field as in the text.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// N.
    pub rows: u32,
    /// V.
    pub vocab: u32,
    /// An id that is never drawn.
    pub banned_a: u32,
    /// Another.
    pub banned_b: u32,
    /// Divides the logits; above 0.
    pub temperature: f32,
    /// Best tokens kept; 0 for all.
    pub top_k: u32,
    /// Probability kept; 1 or more for all.
    pub top_p: f32,
    /// Keeps the count of words even; 0.
    pub pad: u32,
}

/// Workgroups to launch.
///
/// # Panics
///
/// From 2³² logits on.
pub fn grid(params: &Params) -> [u32; 3] {
    elements(&[params.rows, params.vocab]);
    fold(u64::from(params.rows))
}

/// The definition: `ids` `[N]` of `logits` `[N, V]` and `draws` `[N]`; [`NONE`] for a row without a finite best logit.
pub fn twin(params: &Params, logits: &[f32], draws: &[f32]) -> Vec<u32> {
    let vocab = params.vocab as usize;
    let rows = draws.iter().enumerate().map(|(row, &draw)| {
        let logits = &logits[row * vocab..][..vocab];
        let banned = |id: usize| [params.banned_a, params.banned_b].contains(&(id as u32));
        let allowed = |&id: &usize| !banned(id) && !logits[id].is_nan() && logits[id] > f32::NEG_INFINITY;
        let mut kept: Vec<usize> = (0..vocab).filter(allowed).collect();
        // Best first, equals by id.
        kept.sort_by(|&a, &b| (logits[b] + 0.0).total_cmp(&(logits[a] + 0.0)).then(a.cmp(&b)));
        let top = kept.first().map(|&id| logits[id]).filter(|top| top.is_finite())?;
        if let Some(&least) = kept.get((params.top_k as usize).wrapping_sub(1)) {
            let least = logits[least];
            kept.retain(|&id| logits[id] >= least);
        }
        let weight = |id: usize| (f64::from(logits[id] - top) / f64::from(params.temperature)).exp();
        if params.top_p < 1.0 {
            let wanted = f64::from(params.top_p) * kept.iter().map(|&id| weight(id)).sum::<f64>();
            let mut before = 0.0;
            let cut = kept.iter().position(|&id| {
                let full = before >= wanted;
                before += weight(id);
                full
            });
            kept.truncate(cut.unwrap_or(kept.len()).max(1));
        }
        kept.sort_unstable();
        let mut left = f64::from(draw.min(0.999_999)) * kept.iter().map(|&id| weight(id)).sum::<f64>();
        let chosen = kept.iter().find(|&&id| {
            left -= weight(id);
            left < 0.0
        });
        chosen.or(kept.last()).copied()
    });
    rows.map(|id| id.map_or(NONE, |id| id as u32)).collect()
}

fn case(name: &str, params: Params, logits: Vec<f32>, draws: Vec<f32>) -> Case {
    let want = Expected::U32(twin(&params, &logits, &draws));
    Case {
        name: name.to_string(),
        words: words(&params),
        grid: grid(&params),
        slots: vec![
            Slot::Read(Values::F32(logits)),
            Slot::Read(Values::F32(draws)),
            Slot::Written { want, second_group: (params.rows > 1).then_some(1) },
        ],
        bound: Bound::EXACT,
    }
}

fn random(name: &str, [rows, vocab]: [u32; 2], magnitude: f32, extras: (f32, u32, f32)) -> Case {
    let (temperature, top_k, top_p) = extras;
    let mut numbers = Numbers::new(u64::from(rows * 7919 + vocab));
    let logits = numbers.floats((rows * vocab) as usize, magnitude);
    let draws = numbers.floats(rows as usize, 0.5).into_iter().map(|draw| draw + 0.5).collect();
    let params = Params { rows, vocab, banned_a: 5, banned_b: NONE, temperature, top_k, top_p, pad: 0 };
    case(name, params, logits, draws)
}

/// Rows in which the answer hangs on one rule each.
fn rules() -> Case {
    let (vocab, inf) = (600, f32::INFINITY);
    let (mut logits, mut draws) = (Vec::new(), Vec::new());
    let mut row = |fill: f32, special: &[(usize, f32)], draw: f32| {
        let mut row = vec![fill; vocab];
        special.iter().for_each(|&(id, logit)| row[id] = logit);
        logits.extend(row);
        draws.push(draw);
    };
    row(-inf, &[(7, 1.0), (300, 1.0), (599, 1.0)], 0.9); // three ties share the probability; top-p keeps two of them
    row(-inf, &[(7, 1.0), (300, 1.0), (599, 1.0)], 0.1);
    row(-inf, &[(5, 9.0), (20, 0.0)], 0.5); // the best is banned
    row(f32::NAN, &[(599, -3.0)], 0.7);
    row(f32::NAN, &[], 0.5);
    row(-inf, &[], 0.5);
    row(0.0, &[(9, inf)], 0.5); // no finite best
    row(-inf, &[(0, -0.0), (1, 0.0)], 0.3); // both zeros are equal
    row(-inf, &[(30, f32::MAX), (40, f32::MIN)], 0.999);
    row(-50.0, &[(599, 50.0)], 1.0);
    let rows = draws.len() as u32;
    let params = Params {
        rows,
        vocab: vocab as u32,
        banned_a: 5,
        banned_b: 6,
        temperature: 1.0,
        top_k: 4,
        top_p: 0.6,
        pad: 0,
    };
    case("ties, bans, NaN and infinities", params, logits, draws)
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        random("a prime of rows and of ids", [13, 1009], 5.0, (0.8, 50, 0.95)),
        random("one id", [1, 1], 5.0, (1.0, 0, 1.0)),
        random("a workgroup less one", [2, 255], 5.0, (1.0, 0, 1.0)),
        random("a workgroup", [2, 256], 5.0, (2.0, 7, 1.0)),
        random("a workgroup and one", [2, 257], 5.0, (0.5, 0, 0.7)),
        random("vocabulary of the released model", [2, 152_064], 20.0, (0.7, 50, 0.8)),
        random("all of that vocabulary", [2, 152_064], 5.0, (1.0, 0, 0.9)),
        random("no rows", [0, 64], 5.0, (1.0, 0, 1.0)),
        random("large magnitudes", [3, 1000], 1e30, (1.0, 20, 0.9)),
        rules(),
    ]
}
