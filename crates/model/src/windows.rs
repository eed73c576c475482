//! The order in which the tower sees patches: window by window, so that windowed attention works on contiguous blocks.

use crate::VisionConfig;

/// Order, segments and positions of the patches of a list of pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// For each place of the tower's order, the merged patch that stands there.
    pub order: Vec<usize>,
    /// Where each merged patch stands in the tower's order: the inverse of `order`.
    pub inverse: Vec<usize>,
    /// Lengths, in patches, of the attention windows, in the tower's order.
    pub window_segments: Vec<usize>,
    /// Lengths, in patches, of the pictures (each frame of one attends by itself).
    pub full_segments: Vec<usize>,
    /// Row and column of each patch within its picture, in the tower's order.
    pub positions: Vec<[usize; 2]>,
}

/// Plans the tower's pass over pictures of `grids` (t, h, w in patches; h and w multiples of the merge size).
///
/// Patches arrive in merge order: a merge square's patches stand together. A window covers
/// `window_size / merge / patch` merged patches a side; windows at the right and lower edge are smaller.
pub fn windows(grids: &[[usize; 3]], config: &VisionConfig) -> Windows {
    let (merge, side, unit) = (config.spatial_merge_size, config.window_tokens(), config.merge_unit());
    let mut order = Vec::new();
    let mut window_segments = Vec::new();
    let mut full_segments = Vec::new();
    let mut in_merge_order = Vec::new();
    for &[t, h, w] in grids {
        let (rows, columns) = (h / merge, w / merge);
        let base = in_merge_order.len() / unit;
        for frame in 0..t {
            for top in (0..rows).step_by(side) {
                for left in (0..columns).step_by(side) {
                    let (bottom, right) = ((top + side).min(rows), (left + side).min(columns));
                    let inside = (top..bottom).flat_map(|y| (left..right).map(move |x| (y, x)));
                    order.extend(inside.map(|(y, x)| base + (frame * rows + y) * columns + x));
                    window_segments.push((bottom - top) * (right - left) * unit);
                }
            }
            full_segments.push(h * w);
            let squares = (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x)));
            let patches = squares.flat_map(|(y, x)| {
                (0..merge).flat_map(move |dy| (0..merge).map(move |dx| [y * merge + dy, x * merge + dx]))
            });
            in_merge_order.extend(patches);
        }
    }
    let mut inverse = vec![0; order.len()];
    for (place, &patch) in order.iter().enumerate() {
        inverse[patch] = place;
    }
    let positions =
        order.iter().flat_map(|&n| in_merge_order[n * unit..(n + 1) * unit].iter().copied()).collect();
    Windows { order, inverse, window_segments, full_segments, positions }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use proptest::prelude::*;

    fn config() -> VisionConfig {
        let text = r#"{"hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4}"#;
        Config::from_json(text).expect("the released shape").vision
    }

    #[test]
    fn windows_of_a_ragged_picture_are_cut_at_the_edges() {
        // 6 x 5 merged patches in windows of 4 x 4: 4x4, 4x1, 2x4, 2x1.
        let plan = windows(&[[1, 12, 10]], &config());
        assert_eq!(plan.window_segments, [64, 16, 32, 8]);
        assert_eq!(plan.full_segments, [120]);
        assert_eq!(plan.order[..5], [0, 1, 2, 3, 5]);
        assert_eq!(plan.order[16..20], [4, 9, 14, 19]);
        assert_eq!(plan.positions[..5], [[0, 0], [0, 1], [1, 0], [1, 1], [0, 2]]);
    }

    proptest! {
        #[test]
        fn the_order_is_a_permutation_and_segments_cover_it(
            sizes in prop::collection::vec((1usize..3, 1usize..12, 1usize..12), 1..4)
        ) {
            let grids: Vec<_> = sizes.iter().map(|&(t, h, w)| [t, 2 * h, 2 * w]).collect();
            let plan = windows(&grids, &config());
            let patches: usize = grids.iter().map(|[t, h, w]| t * h * w).sum();
            prop_assert_eq!(plan.window_segments.iter().sum::<usize>(), patches);
            prop_assert_eq!(plan.full_segments.iter().sum::<usize>(), patches);
            prop_assert_eq!(plan.positions.len(), patches);
            for n in 0..patches / 4 {
                prop_assert_eq!(plan.order[plan.inverse[n]], n);
            }
            let longest = plan.window_segments.iter().max().copied().unwrap_or(0);
            prop_assert!(longest <= 64);
        }
    }
}
