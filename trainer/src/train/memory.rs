//! What a step holds in memory, by component, from shapes alone.
//!
//! Activations are counted op by op: what burn's automatic differentiation keeps of the model's composed operations until the
//! backward pass has used it. Letters as in `wethink_model`; a "value" is four bytes in float32, two in bfloat16.

use wethink_model::{Config, expected_tensors};

use super::groups::Group;

/// Bytes by component, at the moment of the step when their sum is largest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Trained weights in float32, frozen ones in the type of the arithmetic.
    pub weights: u64,
    /// Two moments of every trained weight.
    pub moments: u64,
    /// Gradients: of the micro-batch in hand, and the sum of those before it.
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
        let Self { weights, moments, gradients, tower, layers, head } = self;
        weights + moments + gradients + tower + layers + head
    }
}

/// The shapes of a micro-batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shapes {
    /// Sequences.
    pub rows: u64,
    /// Tokens of the longest, to which the others are padded.
    pub width: u64,
    /// Targets.
    pub targets: u64,
    /// (t, h, w) of every picture, in patches.
    pub grids: Vec<[usize; 3]>,
}

/// Number of parameters of a group.
pub fn parameters(config: &Config, group: Group) -> u64 {
    let of_group = expected_tensors(config).into_iter().filter(|(name, _)| Group::of(name) == group);
    of_group.map(|(_, shape)| shape.iter().product::<usize>() as u64).sum()
}

/// The memory of a step whose largest micro-batch is `shapes`. `value` is the bytes of a value of the arithmetic, `several`
/// whether a batch has more than one micro-batch.
pub fn memory(
    config: &Config,
    trained: &dyn Fn(Group) -> bool,
    shapes: &Shapes,
    value: u64,
    several: bool,
) -> Memory {
    let count = |of: bool| -> u64 {
        Group::ALL.into_iter().filter(|&g| trained(g) == of).map(|g| parameters(config, g)).sum()
    };
    let (trained_count, frozen) = (count(true), count(false));
    let tower_tracked = trained(Group::Vision);
    let merger_tracked = tower_tracked || trained(Group::Merger);
    let layers_tracked = merger_tracked || trained(Group::Embeddings) || trained(Group::Language);
    Memory {
        weights: 4 * trained_count + value * frozen + if value == 4 { 0 } else { value * trained_count },
        moments: 8 * trained_count,
        gradients: 4 * trained_count * (1 + u64::from(several)),
        tower: value * tower(config, shapes, tower_tracked, merger_tracked),
        layers: if layers_tracked { value * layers(config, shapes) } else { 0 },
        head: 4 * shapes.targets * config.text.vocab_size as u64 * HEAD,
    }
}

/// Tensors of the logits' size that are alive at once: the logits, their logarithms, the gradient of the chosen ones and
/// that of all.
const HEAD: u64 = 4;

/// Values kept of all layers: per token 8 C + 2 Ckv + 4 I, and the attention's weights with their mask. The gradients within
/// the layer in hand take about one and a half times what is kept of one.
fn layers(config: &Config, shapes: &Shapes) -> u64 {
    let t = &config.text;
    let (c, i) = (t.hidden_size as u64, t.intermediate_size as u64);
    let kv = (t.num_key_value_heads * t.head_dim()) as u64;
    let tokens = shapes.rows * shapes.width;
    let weights = t.num_attention_heads as u64 * tokens * shapes.width;
    (tokens * (8 * c + 2 * kv + 4 * i) + weights + weights / 4) * (2 * t.num_hidden_layers as u64 + 3) / 2
}

/// Values kept of the tower and the merger: per patch 10 C + 4 I a block and the attention's weights within its segment, and
/// the patch itself.
fn tower(config: &Config, shapes: &Shapes, tower: bool, merger: bool) -> u64 {
    let v = &config.vision;
    let (c, i, heads) = (v.hidden_size as u64, v.intermediate_size as u64, v.num_heads as u64);
    let plan = wethink_model::windows(&shapes.grids, v);
    let patches: u64 = plan.full_segments.iter().map(|&n| n as u64).sum();
    let squares = |segments: &[usize]| segments.iter().map(|&n| (n * n) as u64).sum::<u64>() * heads;
    let full = v.fullatt_block_indexes.len() as u64;
    let windowed = v.depth as u64 - full;
    let attention = full * squares(&plan.full_segments) + windowed * squares(&plan.window_segments);
    let blocks = v.depth as u64 * patches * (10 * c + 4 * i) + attention + patches * v.patch_len() as u64;
    // Norm and square of patches, then the hidden values of the MLP: the input, its erf, the product.
    let merging = patches * (3 * c + 4 * c);
    u64::from(tower) * blocks + u64::from(merger) * merging
}

/// Floating-point operations of a step: two a weight and token forward, as many again for each of the two gradients.
pub fn operations(config: &Config, trained: &dyn Fn(Group) -> bool, shapes: &[Shapes]) -> f64 {
    let of = |group: Group| parameters(config, group) as f64;
    let v = &config.vision;
    let any_below = |groups: &[Group]| groups.iter().any(|&group| trained(group));
    // The gradient of a layer's input is needed where something below it is trained.
    let passes = |group: Group, below: &[Group]| {
        1.0 + f64::from(u8::from(trained(group))) + f64::from(u8::from(any_below(below)))
    };
    use Group::{Embeddings, Head, Language, Merger, Vision};
    shapes
        .iter()
        .map(|s| {
            let patches: f64 = s.grids.iter().map(|grid| grid.iter().product::<usize>() as f64).sum();
            let tokens = (s.rows * s.width) as f64;
            let attention = 2.0
                * tokens
                * s.width as f64
                * config.text.hidden_size as f64
                * config.text.num_hidden_layers as f64;
            let head = if config.tie_word_embeddings { of(Embeddings) } else { of(Head) };
            2.0 * patches * of(Vision) * passes(Vision, &[Vision])
                + 2.0 * patches / v.merge_unit() as f64 * of(Merger) * passes(Merger, &[Vision])
                + 2.0
                    * (tokens * of(Language) + attention)
                    * passes(Language, &[Vision, Merger, Embeddings, Language])
                + 2.0 * s.targets as f64 * head * passes(Head, &[Vision, Merger, Embeddings, Language])
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let text = r#"{"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 128,
            "num_hidden_layers": 3, "vocab_size": 1000, "image_token_id": 5, "video_token_id": 6,
            "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
            "vision_config": {"depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 64,
                "out_hidden_size": 64, "fullatt_block_indexes": [1]}}"#;
        Config::from_json(text).expect("a sound configuration")
    }

    #[test]
    fn groups_hold_every_parameter_once() {
        let all: usize =
            expected_tensors(&config()).values().map(|shape| shape.iter().product::<usize>()).sum();
        assert_eq!(Group::ALL.iter().map(|&group| parameters(&config(), group)).sum::<u64>(), all as u64);
        assert_eq!(parameters(&config(), Group::Head), 64_000);
    }

    #[test]
    fn what_is_frozen_holds_neither_moments_nor_gradients_nor_activations() {
        let shapes = Shapes { rows: 2, width: 10, targets: 7, grids: vec![[1, 4, 6]] };
        let of = |trained: &dyn Fn(Group) -> bool| memory(&config(), trained, &shapes, 4, false);
        let head = of(&|group| group == Group::Head);
        assert_eq!((head.moments, head.gradients), (8 * 64_000, 4 * 64_000));
        assert_eq!((head.tower, head.layers, head.head), (0, 0, 4 * 4 * 7 * 1000));
        let language = of(&|group| group == Group::Language);
        // 20 tokens of 8 * 64 + 2 * 32 + 4 * 128 values, 2 * 20 * 10 weights with their mask, of 4 bytes; 3 layers and 1.5.
        assert_eq!((language.tower, language.layers), (0, 4 * (20 * 1088 + 400 + 100) * 9 / 2));
        let all = of(&|_| true);
        assert!(
            all.tower > 0 && all.weights == head.weights,
            "in float32 weights weigh the same, trained or not"
        );
        let half = memory(&config(), &|group| group == Group::Head, &shapes, 2, true);
        assert_eq!((half.layers, half.gradients), (0, 2 * head.gradients));
        assert!(half.weights < head.weights);
    }
}
