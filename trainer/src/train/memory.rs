//! What a step holds in memory, by component, from shapes alone.
//!
//! Activations are counted op by op: what automatic differentiation keeps until the backward pass has used it, of the model's
//! composed operations, or of its own ones on the CPU, which keep their inputs alone. Letters as in `wethink_model`; a "value"
//! is four bytes in float32, two in bfloat16.
//!
//! Beyond the usual length by its tests, which hold the same counts by hand.

use wethink_model::{Config, Economy, expected_tensors};

use super::groups::Group;
use super::recipe::Recipe;

/// How the model's operations run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// In float32 by operations with backward passes of their own.
    Cpu,
    /// By composed operations, whose values take so many bytes.
    Composed(u64),
}

impl Arithmetic {
    /// Bytes of a value.
    pub fn value(self) -> u64 {
        match self {
            Self::Cpu => 4,
            Self::Composed(bytes) => bytes,
        }
    }
}

/// Bytes by component, at the moment of the step when their sum is largest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Trained weights in float32, frozen ones in the type of the arithmetic.
    pub weights: u64,
    /// Moments of every trained weight.
    pub moments: u64,
    /// Gradients: of the pass in hand, and the sum of those before it.
    pub gradients: u64,
    /// What the backward pass needs of the tower and the merger.
    pub tower: u64,
    /// What the backward pass needs of the layers.
    pub layers: u64,
    /// Logits, their logarithms, and the gradients of both.
    pub head: u64,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.moments + self.held()
    }

    /// That of so many copies.
    pub fn times(self, copies: u64) -> Self {
        let Self { weights, moments, gradients, tower, layers, head } = self;
        let [weights, moments, gradients, tower, layers, head] =
            [weights, moments, gradients, tower, layers, head].map(|bytes| copies * bytes);
        Self { weights, moments, gradients, tower, layers, head }
    }

    /// What a step adds to the weights and moments that are there between steps.
    pub fn held(&self) -> u64 {
        self.gradients + self.tower + self.layers + self.head
    }
}

/// The shapes of a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shapes {
    /// Tokens of each sequence.
    pub lengths: Vec<u64>,
    /// Targets.
    pub targets: u64,
    /// (t, h, w) of every picture, in patches.
    pub grids: Vec<[usize; 3]>,
}

impl Shapes {
    /// Tokens that are computed, padding included where there is any.
    pub fn tokens(&self, packed: bool) -> u64 {
        let longest = self.lengths.iter().copied().max().unwrap_or(0);
        if packed { self.lengths.iter().sum() } else { longest * self.lengths.len() as u64 }
    }

    /// Lengths of the attentions that are computed one after another, each with the number of rows it has.
    fn attentions(&self, packed: bool) -> Vec<(u64, u64)> {
        let longest = self.lengths.iter().copied().max().unwrap_or(0);
        match packed {
            true => self.lengths.iter().map(|&length| (1, length)).collect(),
            false => vec![(self.lengths.len() as u64, longest)],
        }
    }
}

/// Number of parameters of a group, adapters apart.
pub fn parameters(config: &Config, group: Group) -> u64 {
    let of_group = expected_tensors(config).into_iter().filter(|(name, _)| Group::of(name) == group);
    of_group.map(|(_, shape)| shape.iter().product::<usize>() as u64).sum()
}

/// Number of parameters of all adapters.
pub fn adapters(config: &Config, recipe: &Recipe) -> u64 {
    let shapes = recipe.lora.iter().flat_map(|lora| lora.shapes(config).into_values());
    shapes.map(|[out, input]| (out * input) as u64).sum()
}

/// Which parts of the model are trained, and which have something trained before them.
struct Tracked {
    /// Parameters that are trained.
    count: u64,
    /// Those that are not.
    frozen: u64,
    tower: bool,
    merger: bool,
    layers: bool,
    /// The head's own weight.
    head: bool,
    /// Values of the largest trained tensor.
    largest: u64,
    /// Those of the trained tensors of the first layer and of the embeddings, unless the head is made of these.
    first: u64,
    /// Ranks of a layer's and a block's adapters, added up.
    ranks: [u64; 2],
}

impl Tracked {
    fn new(config: &Config, recipe: &Recipe) -> Self {
        let all: u64 = Group::ALL.into_iter().map(|group| parameters(config, group)).sum();
        let sizes =
            expected_tensors(config).into_iter().map(|(name, shape)| (name, shape.iter().product::<usize>()));
        let adapted = recipe.lora.iter().flat_map(|lora| lora.shapes(config));
        let adapted = adapted.map(|(name, [out, input])| (name, out * input));
        let trained: Vec<(String, u64)> = sizes
            .chain(adapted)
            .map(|(name, size)| (name, size as u64))
            .filter(|(name, _)| recipe.trains(name))
            .collect();
        let any = |part: &str| trained.iter().any(|(name, _)| name.starts_with(part));
        let tower = any("visual.blocks.") || any("visual.patch_embed.");
        let merger = tower || any("visual.merger.");
        let head = if config.tie_word_embeddings { "model.embed_tokens." } else { "lm_head.weight" };
        let sum_of = |wanted: &dyn Fn(&str) -> bool| -> u64 {
            trained.iter().filter(|(name, _)| wanted(name)).map(|(_, size)| size).sum()
        };
        let count = sum_of(&|_| true);
        let embeddings = |name: &str| name.starts_with("model.embed_tokens.") && !config.tie_word_embeddings;
        let first = sum_of(&|name| name.starts_with("model.layers.0.") || embeddings(name));
        let rank = recipe.lora.as_ref().map_or(0, |lora| lora.rank as u64);
        let ranks = ["model.layers.0.", "visual.blocks.0."].map(|part| {
            rank * trained
                .iter()
                .filter(|(name, _)| name.starts_with(part) && name.contains(".lora_A."))
                .count() as u64
        });
        Self {
            count,
            frozen: all + adapters(config, recipe) - count,
            tower,
            merger,
            layers: merger || any("model.embed_tokens.") || any("model.layers."),
            head: any(head),
            first,
            largest: trained.iter().map(|(_, size)| *size).max().unwrap_or(0),
            ranks,
        }
    }
}

/// The memory of a step whose largest pass is `shapes`; `several` is whether a step has more than one pass.
pub fn memory(
    config: &Config,
    recipe: &Recipe,
    shapes: &Shapes,
    arithmetic: Arithmetic,
    several: bool,
) -> Memory {
    let (value, cpu) = (arithmetic.value(), arithmetic == Arithmetic::Cpu);
    let tracked = Tracked::new(config, recipe);
    let economy = recipe.memory.economy();
    let before = 4 * tracked.count * u64::from(several);
    let [tower, block] =
        tower(config, shapes, &tracked, economy.recompute_layers, cpu).map(|values| value * values);
    let [kept, working] = layers(config, shapes, &tracked, &economy, cpu).map(|values| value * values);
    let vocab = config.text.vocab_size as u64;
    let logits = (shapes.targets * vocab).min((economy.at_once as u64).max(vocab));
    let head_gradient = if tracked.head { 4 * vocab * config.text.hidden_size as u64 } else { 0 };
    // Each chunk's gradient of the head is added to the sum of those before it, which makes a third.
    let meeting = if shapes.targets * vocab > logits { 3 * head_gradient } else { 0 };
    let still = Memory {
        weights: 4 * tracked.count
            + value * tracked.frozen
            + if value == 4 { 0 } else { value * tracked.count },
        moments: moments(config, recipe, tracked.count),
        ..Memory::default()
    };
    let moments = [
        // The loss.
        Memory {
            gradients: before + meeting,
            tower,
            layers: kept,
            head: 4 * if cpu { HEAD_CPU * logits + PRODUCTS } else { HEAD * logits },
            ..still
        },
        // The last layer, which the backward pass meets first.
        Memory { gradients: before + head_gradient, tower, layers: kept + working, ..still },
        // The first layer: all others are done with.
        Memory { gradients: before + 4 * (tracked.count - tracked.first), tower, layers: working, ..still },
        // The tower's last block, where it is run again.
        Memory { gradients: before + 4 * tracked.count, tower: tower + block, ..still },
        // The update of the largest tensor.
        Memory {
            gradients: 4 * tracked.count + 4 * tracked.largest * if cpu { UPDATE_CPU } else { UPDATE },
            ..still
        },
    ];
    moments.into_iter().max_by_key(Memory::total).unwrap_or_default()
}

/// Tensors of the logits' size that are alive at once: their logarithms, the gradient of the chosen ones and that of all.
const HEAD: u64 = 3;

/// On the CPU: themselves and their gradient.
const HEAD_CPU: u64 = 2;

/// Tensors of a parameter's size that its update makes.
const UPDATE: u64 = 4;

/// On the CPU, where moments are changed in place.
const UPDATE_CPU: u64 = 1;

/// Bytes of the moments of `count` trained values.
fn moments(config: &Config, recipe: &Recipe, count: u64) -> u64 {
    let first = if recipe.optimizer.factored && recipe.optimizer.beta1 == 0.0 { 0 } else { 4 * count };
    if !recipe.optimizer.factored {
        return first + 4 * count;
    }
    let matrices = recipe.matrices(config).into_values();
    let (whole, sides) =
        matrices.fold((0, 0), |(whole, sides), [out, input]| (whole + out * input, sides + out + input));
    first + 4 * (count - whole as u64 + sides as u64)
}

/// Values of the layers: kept until the backward pass has come by, and those within the layer in hand.
///
/// Per token and layer 8 C + 2 Ckv + 4 I and the ranks of adapters, and what the softmax keeps of the attention's weights
/// where they do not go in chunks. The factors are measured, with an allocator that counts, over shapes in which one or the
/// other rules.
///
/// On the CPU 6 C + 2 Ckv + 3 I are kept: stream and normed stream twice, rotated queries and what was attended; rotated keys
/// and values; gate, value and product. A normaliser a head takes the place of the weights. Within the layer in hand the
/// gradients of the MLP rule.
fn layers(config: &Config, shapes: &Shapes, tracked: &Tracked, economy: &Economy, cpu: bool) -> [u64; 2] {
    if !tracked.layers {
        return [0, 0];
    }
    let t = &config.text;
    let (c, i, count) = (t.hidden_size as u64, t.intermediate_size as u64, t.num_hidden_layers as u64);
    let kv = (t.num_key_value_heads * t.head_dim()) as u64;
    let tokens = shapes.tokens(economy.packed);
    if cpu {
        let kept = tokens * (6 * c + 2 * kv + 3 * i + t.num_attention_heads as u64 + tracked.ranks[0]);
        let working = tokens * (2 * c + 2 * i) + PRODUCTS;
        return match economy.recompute_layers {
            true => [count * tokens * c, kept + working],
            false => [count * kept, working],
        };
    }
    let at_once = economy.at_once as u64;
    let (mut weights, mut chunks, mut chunk) = (0, 0, 0);
    for (rows, length) in shapes.attentions(economy.packed) {
        let row = t.num_attention_heads as u64 * rows * length;
        if row * length <= at_once {
            weights += row * length;
        } else {
            chunks += length.div_ceil((at_once / row).max(1));
            chunk = chunk.max(at_once.max(row));
        }
    }
    let stream = tokens * (8 * c + 2 * kv + 4 * i + tracked.ranks[0]);
    let kept = stream * 21 / 20 + weights * 331 / 100 + chunks * BOOKS;
    let working = stream * 4 / 5 + weights * 19 / 20 + CHUNK * chunk;
    match economy.recompute_layers {
        true => [count * (tokens * c + chunks * BOOKS), kept + working],
        false => [count * kept, working],
    }
}

/// What a product on the CPU packs its matrices into, and burn's books of a layer or a chunk of logits, in values.
const PRODUCTS: u64 = 160_000;

/// What burn's books of the operations of one chunk take, in values.
const BOOKS: u64 = 9_000;

/// Tensors of the scores' size within the chunk of an attention that is computed again.
const CHUNK: u64 = 4;

/// Values of the tower and the merger: kept, and those within the block in hand where blocks are run again.
///
/// Per patch 10 C + 4 I a block and the attention's weights within its segment, and the patch itself; on the CPU 8 C + 3 I and
/// a normaliser a head.
fn tower(config: &Config, shapes: &Shapes, tracked: &Tracked, recompute: bool, cpu: bool) -> [u64; 2] {
    let v = &config.vision;
    let (c, i, heads) = (v.hidden_size as u64, v.intermediate_size as u64, v.num_heads as u64);
    let plan = wethink_model::windows(&shapes.grids, v);
    let patches: u64 = plan.full_segments.iter().map(|&n| n as u64).sum();
    let squares = |segments: &[usize]| segments.iter().map(|&n| (n * n) as u64).sum::<u64>() * heads;
    let (full, windowed) = match cpu {
        true => (0, 0),
        false => (squares(&plan.full_segments), squares(&plan.window_segments)),
    };
    let block = patches * (tracked.ranks[1] + if cpu { 8 * c + 3 * i + heads } else { 10 * c + 4 * i });
    let depth = v.depth as u64;
    let wide = v.fullatt_block_indexes.len() as u64;
    let [blocks, working] = match recompute {
        true => [depth * patches * c, (block + full) * 5 / 2],
        false => [depth * block + wide * full + (depth - wide) * windowed, 0],
    };
    // Norm and square of patches, then the hidden values of the MLP: the input, its erf, the product.
    let merging = patches * (4 * c + if cpu { 2 * c } else { 3 * c });
    let own = u64::from(tracked.tower);
    let kept = own * (blocks + patches * v.patch_len() as u64) + u64::from(tracked.merger) * merging;
    [kept, own * working]
}

/// Floating-point operations of a step: two a weight and token forward, as many again for each of the two gradients, and for
/// what is computed again. A frozen weight has no gradient of its own, but passes on that of its input.
pub fn operations(config: &Config, recipe: &Recipe, shapes: &[Shapes]) -> f64 {
    let of = |group: Group| parameters(config, group) as f64;
    let tracked = Tracked::new(config, recipe);
    let economy = recipe.memory.economy();
    let flag = |holds: bool| f64::from(u8::from(holds));
    let trained = |group: Group| recipe.lora.is_none() && recipe.rates(group).is_some();
    let passes =
        |own: bool, below: bool, again: bool| 1.0 + flag(own) + flag(below) + flag(again && (own || below));
    let v = &config.vision;
    use Group::{Embeddings, Head, Language, Merger, Vision};
    let again = economy.recompute_layers;
    shapes
        .iter()
        .map(|s| {
            let patches: f64 = s.grids.iter().map(|grid| grid.iter().product::<usize>() as f64).sum();
            let pairs: u64 =
                s.attentions(economy.packed).iter().map(|(rows, length)| rows * length * length).sum();
            let width = (config.text.hidden_size * config.text.num_hidden_layers) as f64;
            let attention = 2.0 * pairs as f64 * width;
            let tokens = s.tokens(economy.packed) as f64;
            let head = if config.tie_word_embeddings { of(Embeddings) } else { of(Head) };
            let chunked = s.targets as usize * config.text.vocab_size > economy.at_once;
            2.0 * patches * of(Vision) * passes(trained(Vision), tracked.tower, again)
                + 2.0 * patches / v.merge_unit() as f64
                    * of(Merger)
                    * passes(trained(Merger), tracked.tower, false)
                + 2.0 * (tokens * of(Language) + attention) * passes(trained(Language), tracked.layers, again)
                + 2.0 * s.targets as f64 * head * passes(tracked.head, tracked.layers, chunked)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::Arithmetic::Composed;
    use super::*;

    fn config() -> Config {
        let text = r#"{"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 128,
            "num_hidden_layers": 3, "vocab_size": 1000, "image_token_id": 5, "video_token_id": 6,
            "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
            "vision_config": {"depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 64,
                "out_hidden_size": 64, "fullatt_block_indexes": [1]}}"#;
        Config::from_json(text).expect("a sound configuration")
    }

    fn recipe(trained: &[&str], more: &str) -> Recipe {
        let groups: String =
            trained.iter().map(|group| format!("[groups.{group}]\nlearning_rate = 1.0\n")).collect();
        let text =
            format!("checkpoint = 'c'\n[data]\nrows = 'r'\n[train]\nsteps = 1\nbatch = 2\n{groups}{more}");
        Recipe::parse(&text, &[]).expect("sound")
    }

    const ALL: [&str; 5] = ["vision", "merger", "embeddings", "language", "head"];

    fn shapes() -> Shapes {
        Shapes { lengths: vec![10, 6], targets: 7, grids: vec![[1, 4, 6]] }
    }

    #[test]
    fn groups_hold_every_parameter_once() {
        let all: usize =
            expected_tensors(&config()).values().map(|shape| shape.iter().product::<usize>()).sum();
        assert_eq!(Group::ALL.iter().map(|&group| parameters(&config(), group)).sum::<u64>(), all as u64);
        assert_eq!(parameters(&config(), Group::Head), 64_000);
    }

    #[test]
    fn what_is_frozen_holds_neither_moments_nor_activations() {
        let of = |recipe: &Recipe| memory(&config(), recipe, &shapes(), Composed(4), false);
        let head = of(&recipe(&["head"], ""));
        assert_eq!((head.moments, head.tower, head.layers), (8 * 64_000, 0, 0));
        let all = of(&recipe(&ALL, ""));
        assert_eq!(all.weights, head.weights, "in float32 weights weigh the same, trained or not");
        let half = memory(&config(), &recipe(&["head"], ""), &shapes(), Composed(2), true);
        assert!(half.weights < head.weights && half.gradients >= head.gradients);
    }

    #[test]
    fn each_economy_takes_what_it_says() {
        let tracked = Tracked::new(&config(), &recipe(&["language"], ""));
        let of = |economy: Economy| layers(&config(), &shapes(), &tracked, &economy, false);
        // 20 tokens of 8 * 64 + 2 * 32 + 4 * 128 values, 2 * 2 * 10 * 10 weights; 3 layers.
        let (kept, working) = (22_848 + 1_324, 17_408 + 380);
        let plain = Economy::default();
        assert_eq!(of(plain), [3 * kept, working]);
        assert_eq!(of(Economy { recompute_layers: true, ..plain }), [3 * 20 * 64, kept + working]);
        // 16 tokens, and the weights of both sequences apart: 2 * (100 + 36).
        assert_eq!(of(Economy { packed: true, ..plain }), [3 * (18_278 + 900), 13_926 + 258]);
        // On the CPU 20 tokens of 6 * 64 + 2 * 32 + 3 * 128 + 2 values, whatever the squares of lengths.
        assert_eq!(layers(&config(), &shapes(), &tracked, &plain, true), [3 * 20 * 834, 20 * 384 + PRODUCTS]);
        // Five chunks of two queries of both rows.
        let chunks = Economy { at_once: 80, ..plain };
        assert_eq!(of(chunks), [3 * (22_848 + 5 * BOOKS), 17_408 + CHUNK * 80]);
        let frozen = Tracked::new(&config(), &recipe(&["head"], ""));
        assert_eq!(layers(&config(), &shapes(), &frozen, &plain, false), [0, 0]);
    }

    #[test]
    fn adapters_and_factored_moments_are_counted_by_their_shapes() {
        let lora = recipe(
            &[],
            "[lora]\nrank = 2\nalpha = 4.0\nlearning_rate = 1e-4\ntargets = ['q_proj', 'lm_head']\n",
        );
        // Three maps of 64 to 64, and one of 64 to 1000.
        let count = 3 * 2 * (64 + 64) + 2 * (64 + 1000);
        assert_eq!(adapters(&config(), &lora), count);
        let of = memory(&config(), &lora, &shapes(), Composed(4), false);
        assert_eq!(of.moments, 8 * count);
        assert_eq!(of.tower, 0);
        let factored = recipe(&["head"], "[optimizer]\nfactored = true\nbeta1 = 0.0\n");
        assert_eq!(memory(&config(), &factored, &shapes(), Composed(4), false).moments, 4 * (64 + 1000));
    }
}
