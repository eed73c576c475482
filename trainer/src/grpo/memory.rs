//! What a step of GRPO holds in memory and takes in arithmetic, from shapes alone.
//!
//! A step has two moments that count. While it samples, the cache of all rows lies beside the weights, with what one prompt or
//! one step of all rows needs on top. While it updates, it holds what supervised training on the same sequences does
//! ([`crate::train::memory`]). Letters as in `wethink_model`; a "value" is four bytes in float32, two in bfloat16.

use wethink_model::Config;

use super::recipe::Recipe;
use crate::train::economy::passes;
use crate::train::groups::Group;
use crate::train::memory::{self as supervised, Arithmetic, Shapes, parameters};
use crate::train::recipe::Groups;

/// A prompt's size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Size {
    /// Tokens.
    pub tokens: u64,
    /// (t, h, w) of every picture, in patches.
    pub grids: Vec<[usize; 3]>,
}

/// Bytes by component.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// The second copy of the weights that the divergence is measured from.
    pub reference: u64,
    /// What an update holds, the weights and their moments included.
    pub update: supervised::Memory,
    /// Keys and values of all rows, and of one prompt.
    pub cache: u64,
    /// What computing one prompt, or one token of every row, holds beside the cache.
    pub working: u64,
}

impl Memory {
    /// At the most while responses are sampled.
    pub fn sampling(&self) -> u64 {
        self.update.weights + self.update.moments + self.reference + self.sampled()
    }

    /// What sampling adds to the weights.
    pub fn sampled(&self) -> u64 {
        self.cache + self.working
    }

    /// At the most while weights are updated.
    pub fn updating(&self) -> u64 {
        self.update.total() + self.reference
    }

    /// At the most.
    pub fn total(&self) -> u64 {
        self.sampling().max(self.updating())
    }
}

/// The memory of a step over prompts of these sizes whose responses are as long as allowed.
pub fn memory(config: &Config, recipe: &Recipe, sizes: &[Size], arithmetic: Arithmetic) -> Memory {
    let value = arithmetic.value();
    let (trained, update) = (recipe.supervised(), updates(recipe, sizes));
    let several = update.iter().any(|mini_batch| mini_batch.len() > 1);
    let largest = update.concat().into_iter();
    let largest = largest.map(|shapes| supervised::memory(config, &trained, &shapes, arithmetic, several));
    let [cache, working] =
        sampled(config, recipe, sizes, arithmetic == Arithmetic::Cpu).map(|values| values * value);
    Memory {
        reference: reference(config, recipe, value),
        update: largest.max_by_key(supervised::Memory::total).unwrap_or_default(),
        cache,
        working,
    }
}

/// Bytes of the reference beyond what it shares with the model. In float32 nothing frozen is copied; with adapters nothing at
/// all is.
fn reference(config: &Config, recipe: &Recipe, value: u64) -> u64 {
    if recipe.loss.kl_weight == 0.0 || recipe.lora.is_some() {
        return 0;
    }
    let copied = |group: &Group| value != 4 || recipe.groups.rates(*group).is_some();
    value * Group::ALL.into_iter().filter(copied).map(|group| parameters(config, group)).sum::<u64>()
}

/// Values of the cache, and of what is computed beside it, while these prompts are answered.
fn sampled(config: &Config, recipe: &Recipe, sizes: &[Size], cpu: bool) -> [u64; 2] {
    let t = &config.text;
    let (new, group) = (recipe.rollout.max_new_tokens as u64, recipe.rollout.group as u64);
    let rows = (recipe.rollout.rows as u64).min(group * recipe.train.prompts as u64);
    let longest = sizes.iter().map(|size| size.tokens).max().unwrap_or(0);
    let kv = (t.num_key_value_heads * t.head_dim()) as u64;
    let a_token = 2 * kv * t.num_hidden_layers as u64;
    let cache = a_token * (rows * (longest + new) + longest);
    let decode = computed(config, rows, 1, longest + new, cpu) + LOGITS * rows * t.vocab_size as u64;
    let prompt = computed(config, 1, longest, longest, cpu);
    let tower = sizes.iter().map(|size| tower(config, &size.grids, cpu)).max().unwrap_or(0);
    [cache, decode.max(prompt).max(tower)]
}

/// Copies of a step's logits: on the device, and read back.
const LOGITS: u64 = 2;

/// Scores that one attention holds at once, in values; longer ones go in chunks.
const SCORES: u64 = 1 << 24;

/// Values that a layer holds while it computes `width` tokens of each of so many rows, which attend to `length`.
fn computed(config: &Config, rows: u64, width: u64, length: u64, cpu: bool) -> u64 {
    let t = &config.text;
    let (c, i) = (t.hidden_size as u64, t.intermediate_size as u64);
    let (heads, tokens) = (t.num_attention_heads as u64, rows * width);
    // The scores and their softmax, of which the CPU holds none; products read keys and values where they lie.
    let scores = if cpu { 0 } else { (rows * heads * width * length).min(SCORES) };
    let attention = 2 * scores + 3 * tokens * c;
    attention.max(tokens * (3 * c + 3 * i))
}

/// Values that the tower holds for a prompt's pictures, which it sees together.
fn tower(config: &Config, grids: &[[usize; 3]], cpu: bool) -> u64 {
    let v = &config.vision;
    let (c, i, heads) = (v.hidden_size as u64, v.intermediate_size as u64, v.num_heads as u64);
    let pictures: Vec<u64> = grids.iter().map(|grid| grid.iter().product::<usize>() as u64).collect();
    let patches: u64 = pictures.iter().sum();
    let scores =
        pictures.iter().map(|n| if cpu { 0 } else { (heads * n * n).min(SCORES) }).max().unwrap_or(0);
    // The patches themselves are gone once they are embedded.
    let embedding = patches * (v.patch_len() as u64 + c);
    embedding.max(patches * 6 * c + 2 * scores).max(patches * (3 * c + 3 * i))
}

/// The passes of a step's updates, by mini-batch, with every response as long as allowed. Pictures of which features are kept
/// are not computed again.
fn updates(recipe: &Recipe, sizes: &[Size]) -> Vec<Vec<Shapes>> {
    let (group, new) = (recipe.rollout.group, recipe.rollout.max_new_tokens as u64);
    let seen = recipe.memory.features_mb == 0.0;
    let mini_batch = |prompts: &[Size]| -> Vec<Shapes> {
        let responses: Vec<&Size> =
            prompts.iter().flat_map(|size| std::iter::repeat_n(size, group)).collect();
        let tokens: Vec<usize> = responses.iter().map(|size| (size.tokens + new) as usize).collect();
        let of_pass = |pass: Vec<usize>| Shapes {
            lengths: pass.iter().map(|&place| tokens[place] as u64).collect(),
            targets: pass.len() as u64 * new,
            grids: pass
                .iter()
                .flat_map(|&place| responses[place].grids.iter().copied().filter(|_| seen))
                .collect(),
        };
        passes(&tokens, recipe.portion()).into_iter().map(of_pass).collect()
    };
    sizes.chunks(recipe.train.mini_batch).map(mini_batch).collect()
}

/// Floating-point operations by phase.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Operations {
    /// Computing prompts.
    pub prompts: f64,
    /// Computing responses, a token of every row at a time.
    pub decode: f64,
    /// Log-probabilities under the policy that sampled and under the reference.
    pub scoring: f64,
    /// Updates.
    pub update: f64,
}

/// The operations of a step over prompts of these sizes whose responses are as long as allowed.
pub fn operations(config: &Config, recipe: &Recipe, sizes: &[Size]) -> Operations {
    let trained = recipe.supervised();
    let mut frozen = trained.clone();
    (frozen.groups, frozen.lora) = (Groups::default(), None);
    let forward = |shapes: &[Shapes]| supervised::operations(config, &frozen, shapes);
    let new = recipe.rollout.max_new_tokens as u64;
    let shapes = |length: u64, targets: u64, grids: &[[usize; 3]]| {
        forward(&[Shapes { lengths: vec![length], targets, grids: grids.to_vec() }])
    };
    let prompts = sizes.iter().map(|size| shapes(size.tokens, 1, &size.grids)).sum();
    let response = |size: &Size| shapes(size.tokens + new, new, &[]) - shapes(size.tokens, 0, &[]);
    let decode = recipe.rollout.group as f64 * sizes.iter().map(response).sum::<f64>();
    let passes = updates(recipe, sizes).concat();
    let scored = usize::from(recipe.updates() > 1) + usize::from(recipe.loss.kl_weight > 0.0);
    Operations {
        prompts,
        decode,
        scoring: scored as f64 * forward(&passes),
        update: recipe.train.epochs as f64 * supervised::operations(config, &trained, &passes),
    }
}
