//! The vision tower: a ViT that attends within windows of 112 pixels, and over whole pictures in a few blocks.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, TensorData};
use wethink_kernels::{Launches, Segments, attention_segments, gelu, rotate_qkv};

use crate::recompute::recomputed;
use crate::rotary::planar;
use crate::text::{Mlp, RmsNorm};
use crate::windows::windows;
use crate::{Linear, VisionConfig};

/// Patch embedding, blocks and merger; `visual.*` of the checkpoint.
#[derive(Module, Debug)]
pub struct VisionTower {
    /// Patch embedding.
    pub patch_embed: PatchEmbed,
    /// The blocks, first to last.
    pub blocks: Vec<Block>,
    /// Folds squares of patches into tokens of the text model.
    pub merger: Merger,
    /// Blocks that attend over the whole picture.
    #[module(skip)]
    pub fullatt_block_indexes: Vec<usize>,
}

/// The patch embedding. The checkpoint stores a 3-D convolution whose stride is its kernel; on patch rows that is one
/// product, so its weight `[C, channels, frames, 14, 14]` is kept flat.
#[derive(Module, Debug)]
pub struct PatchEmbed {
    /// `[C, channels * frames * 14 * 14]`.
    pub proj: Param<Tensor<2>>,
}

/// Attention and MLP, each behind a norm, each added to the stream.
#[derive(Module, Debug)]
pub struct Block {
    /// Norm before attention.
    pub norm1: RmsNorm,
    /// Norm before the MLP.
    pub norm2: RmsNorm,
    /// Attention.
    pub attn: VisionAttention,
    /// MLP.
    pub mlp: Mlp,
}

/// Attention with one product for queries, keys and values.
#[derive(Module, Debug)]
pub struct VisionAttention {
    /// `[3 * C, C]`: queries, keys, values.
    pub qkv: Linear,
    /// `[C, C]`.
    pub proj: Linear,
    /// D.
    pub head_dim: usize,
}

/// Norm, then a two-layer MLP over the concatenated patches of a merge square.
#[derive(Module, Debug)]
pub struct Merger {
    /// Norm of single patches.
    pub ln_q: RmsNorm,
    /// `mlp.0`: `[4 C, 4 C]`.
    pub mlp_0: Linear,
    /// `mlp.2`: `[C of the text model, 4 C]`.
    pub mlp_2: Linear,
}

impl VisionTower {
    /// Features of pictures, in picture order: patches `[P, patch_len]` to `[N, C of the text model]`.
    ///
    /// `grids` are (t, h, w) in patches; the rows of `patches` are in merge order. With `recompute` a backward pass computes
    /// each block again from its input instead of keeping what happens within.
    pub fn forward(
        &self,
        patches: Tensor<2>,
        grids: &[[usize; 3]],
        config: &VisionConfig,
        recompute: bool,
        launches: &mut Launches,
    ) -> Tensor<2> {
        let device = patches.device();
        let plan = windows(grids, config);
        let x = patches.matmul(self.patch_embed.proj.val().transpose()); // [P, C]
        let unit = config.merge_unit();
        let by_square = |x: Tensor<2>, order: &[usize], unit: usize| {
            let [rows, width] = x.dims();
            let order: Vec<i32> = order.iter().map(|&i| i as i32).collect();
            let index: Tensor<1, Int> =
                Tensor::from_data(TensorData::new(order.clone(), [order.len()]), &device);
            x.reshape([rows / unit, unit * width]).select(0, index).reshape([rows, width])
        };
        let mut x = by_square(x, &plan.order, unit); // [P, C] window by window
        let rotary = planar(&plan.positions, config.head_dim(), &device);
        let windowed = Segments::new(plan.window_segments, &device);
        let full = Segments::new(plan.full_segments, &device);
        let mut delta = None;
        for (index, block) in self.blocks.iter().enumerate() {
            let segments = if self.fullatt_block_indexes.contains(&index) { &full } else { &windowed };
            if recompute {
                x = block.recomputed(x, &rotary, segments, launches);
                continue;
            }
            let (stream, added) = block.forward(x, delta, &rotary, segments, launches);
            (x, delta) = (stream, Some(added));
        }
        by_square(self.merger.forward(x, delta, unit, launches), &plan.inverse, 1) // [N, C]
    }
}

impl Block {
    /// The stream with everything that this block adds to it, as a stretch that keeps its input alone.
    fn recomputed(
        &self,
        x: Tensor<2>,
        rotary: &Tensor<3>,
        segments: &Segments,
        launches: &mut Launches,
    ) -> Tensor<2> {
        let (rotary, segments) = (rotary.clone(), segments.clone());
        let shape = x.dims();
        let run = move |block: &Self, x: Tensor<2>, launches: &mut Launches| {
            let (x, added) = block.forward(x, None, &rotary, &segments, launches);
            added + x
        };
        recomputed(self, x, shape, run, launches)
    }

    /// The stream and what the sublayer before added to it; returns the same of this block's MLP.
    fn forward(
        &self,
        x: Tensor<2>,
        delta: Option<Tensor<2>>,
        rotary: &Tensor<3>,
        segments: &Segments,
        launches: &mut Launches,
    ) -> (Tensor<2>, Tensor<2>) {
        let (x, normed) = self.norm1.after(x, delta, launches);
        let attended = self.attn.forward(normed, rotary, segments, launches);
        let (x, normed) = self.norm2.after(x, Some(attended), launches);
        (x, self.mlp.forward(normed, launches))
    }
}

impl VisionAttention {
    fn forward(
        &self,
        x: Tensor<2>,
        rotary: &Tensor<3>,
        segments: &Segments,
        launches: &mut Launches,
    ) -> Tensor<2> {
        let [patches, width] = x.dims();
        let qkv = self.qkv.forward(x).reshape([patches, 3, width / self.head_dim, self.head_dim]);
        let qkv = rotate_qkv(qkv, rotary.clone(), launches);
        self.proj.forward(attention_segments(qkv, segments, launches))
    }
}

impl Merger {
    /// `[P, C]` to `[N, C of the text model]`.
    fn forward(
        &self,
        x: Tensor<2>,
        delta: Option<Tensor<2>>,
        unit: usize,
        launches: &mut Launches,
    ) -> Tensor<2> {
        let [patches, width] = x.dims();
        let (_, normed) = self.ln_q.after(x, delta, launches);
        let x = normed.reshape([patches / unit, unit * width]);
        self.mlp_2.forward(gelu(self.mlp_0.forward(x)))
    }
}
