//! Low-rank adapters (LoRA; Hu et al., arXiv 2106.09685) beside the weights of linear maps.
//!
//! An adapted map is `x · Wᵀ + b + s (x · Aᵀ) · Bᵀ`: the dense product of B and A is never formed but by [`Model::merge`], so
//! a frozen weight costs neither a gradient nor a copy. Names and orientation of A and B are those of PEFT: `lora_A` is
//! `[r, in]`, `lora_B` is `[out, r]`.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};

use crate::{Linear, Mlp, Model, Weight, uniform};

/// What ends the name of an adapter's first matrix, after the name of its map.
pub const LORA_A: &str = ".lora_A.weight";
/// What ends the name of an adapter's second matrix, after the name of its map.
pub const LORA_B: &str = ".lora_B.weight";

/// Keeps the draws of starting values and of dropout apart from those of generation, whose samples are counted from 0, and
/// of shuffling, which has the number above.
const STARTING: u32 = u32::MAX - 1;
const DROPPING: u32 = u32::MAX - 2;

/// A low-rank addition to a linear map.
#[derive(Module, Debug)]
pub struct Adapter {
    /// `[r, in]`.
    pub lora_a: Param<Tensor<2>>,
    /// `[out, r]`.
    pub lora_b: Param<Tensor<2>>,
    /// s.
    pub scale: f64,
    /// What leaves out some of the input; absent outside training.
    #[module(skip)]
    pub dropout: Option<Dropout>,
}

/// Which values of an adapter's input are left out: a function of this address and of the value's place, so that a pass can
/// be run again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Share of values left out, in `[0, 1)`; the others grow by `1 / (1 - probability)`.
    pub probability: f64,
    /// Key of the run's draws.
    pub seed: u64,
    /// Step of the run.
    pub step: u32,
    /// Pass within the step.
    pub pass: u32,
    /// Place of the map among all; [`Model::with_dropout`] sets it.
    pub map: u32,
}

impl Adapter {
    /// One that changes nothing yet, as PEFT starts it: A uniform within `±in^-1/2`, drawn by `seed` and the map's place
    /// `map` among all; B zero.
    pub fn start(
        [out, input]: [usize; 2],
        rank: usize,
        scale: f64,
        seed: u64,
        map: u32,
        device: &Device,
    ) -> Self {
        let bound = (input as f64).powf(-0.5);
        let draw = |place: usize| uniform(seed, 0, map, STARTING, place as u32);
        let values: Vec<f32> =
            (0..rank * input).map(|place| ((2.0 * draw(place) - 1.0) * bound) as f32).collect();
        let a = Tensor::from_data(TensorData::new(values, [rank, input]), (device, DType::F32));
        Self::of(a, Tensor::zeros([out, rank], (device, DType::F32)), scale)
    }

    /// One of known matrices, `[r, in]` and `[out, r]`.
    pub fn of(a: Tensor<2>, b: Tensor<2>, scale: f64) -> Self {
        assert_eq!(a.dims()[0], b.dims()[1], "both matrices have one rank");
        Self { lora_a: Param::from_tensor(a), lora_b: Param::from_tensor(b), scale, dropout: None }
    }

    /// `s (x · Aᵀ) · Bᵀ`: `[rows, in]` to `[rows, out]`.
    pub fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        let x = match &self.dropout {
            Some(dropout) => dropout.apply(x),
            None => x,
        };
        x.matmul(self.lora_a.val().transpose()).matmul(self.lora_b.val().transpose()).mul_scalar(self.scale)
    }

    /// `s B · A` in float32, `[out, in]`.
    fn product(&self) -> Tensor<2> {
        let [a, b] = [&self.lora_a, &self.lora_b].map(|x| x.val().cast(FloatDType::F32));
        b.matmul(a).mul_scalar(self.scale)
    }
}

impl Dropout {
    fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        let [rows, width] = x.dims();
        let kept = (1.0 / (1.0 - self.probability)) as f32;
        let draw = |place: usize| uniform(self.seed, self.step, self.map, DROPPING - self.pass, place as u32);
        let factor = |place| if draw(place) < self.probability { 0.0 } else { kept };
        let factors: Vec<f32> = (0..rows * width).map(factor).collect();
        let device = x.device().without_autodiff();
        let factors = Tensor::<2>::from_data(TensorData::new(factors, [rows, width]), (&device, DType::F32));
        let dtype = FloatDType::from(x.dtype());
        x * factors.cast(dtype)
    }
}

/// Makes adapters: by the name of a map in the released layout, its place among all, and the `[out, in]` of its weight.
pub type MakeAdapter<'a> = dyn FnMut(&str, u32, [usize; 2]) -> Option<Adapter> + 'a;

impl Model {
    /// Every linear map with its name in the released layout, from the pixels to the logits. The patch embedding and a tied
    /// head are none: they have no weight of their own that an adapter could stand beside.
    fn each_linear(&mut self, see: &mut dyn FnMut(&str, &mut Linear)) {
        fn mlp(name: &str, mlp: &mut Mlp, see: &mut dyn FnMut(&str, &mut Linear)) {
            see(&format!("{name}.mlp.gate_proj"), &mut mlp.gate_proj);
            see(&format!("{name}.mlp.up_proj"), &mut mlp.up_proj);
            see(&format!("{name}.mlp.down_proj"), &mut mlp.down_proj);
        }
        for (i, block) in self.visual.blocks.iter_mut().enumerate() {
            let name = format!("visual.blocks.{i}");
            see(&format!("{name}.attn.qkv"), &mut block.attn.qkv);
            see(&format!("{name}.attn.proj"), &mut block.attn.proj);
            mlp(&name, &mut block.mlp, see);
        }
        see("visual.merger.mlp.0", &mut self.visual.merger.mlp_0);
        see("visual.merger.mlp.2", &mut self.visual.merger.mlp_2);
        for (i, layer) in self.model.layers.iter_mut().enumerate() {
            let name = format!("model.layers.{i}");
            let attention = &mut layer.self_attn;
            see(&format!("{name}.self_attn.q_proj"), &mut attention.q_proj);
            see(&format!("{name}.self_attn.k_proj"), &mut attention.k_proj);
            see(&format!("{name}.self_attn.v_proj"), &mut attention.v_proj);
            see(&format!("{name}.self_attn.o_proj"), &mut attention.o_proj);
            mlp(&name, &mut layer.mlp, see);
        }
        if let Some(head) = &mut self.lm_head {
            see("lm_head", head);
        }
    }

    /// Puts an adapter beside every linear map for which `make` has one. Maps without one stay as they are.
    ///
    /// # Panics
    ///
    /// If an adapter's matrices do not fit its map.
    pub fn adapt(mut self, make: &mut MakeAdapter) -> Self {
        let mut place = 0;
        self.each_linear(&mut |name, linear| {
            let dims @ [out, input] = linear.weight.dims();
            if let Some(adapter) = make(name, place, dims) {
                let (a, b) = (adapter.lora_a.val().dims(), adapter.lora_b.val().dims());
                assert_eq!((a[1], b[0]), (input, out), "the adapter of {name}");
                linear.adapter = Some(adapter);
            }
            place += 1;
        });
        self
    }

    /// Shows every adapter with the name of its map.
    pub fn each_adapter(&self, see: &mut dyn FnMut(&str, &Adapter)) {
        // Handles are cloned, not values.
        self.clone().each_linear(&mut |name, linear| {
            if let Some(adapter) = &linear.adapter {
                see(name, adapter);
            }
        });
    }

    /// Adds every adapter to its weight, in float32 whatever the weight's type, and takes it away. Beside a packed
    /// weight it stays.
    pub fn merge(mut self) -> Self {
        self.each_linear(&mut |_, linear| {
            let Weight::Dense(weight) = &mut linear.weight else { return };
            let Some(adapter) = linear.adapter.take() else { return };
            let value = weight.val();
            let dtype = FloatDType::from(value.dtype());
            *weight = Param::from_tensor((value.cast(FloatDType::F32) + adapter.product()).cast(dtype));
        });
        self
    }

    /// The weights alone, shared with this model: what the adapters stand beside.
    pub fn without_adapters(mut self) -> Self {
        self.each_linear(&mut |_, linear| linear.adapter = None);
        self
    }

    /// The model for one pass of training: every adapter leaves out values of its input by the address `dropout`.
    pub fn with_dropout(mut self, dropout: Option<Dropout>) -> Self {
        let mut map = 0;
        self.each_linear(&mut |_, linear| {
            if let Some(adapter) = &mut linear.adapter {
                adapter.dropout = dropout.map(|dropout| Dropout { map, ..dropout });
            }
            map += 1;
        });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(x: Tensor<2>) -> Vec<f32> {
        x.into_data().try_into_vec().expect("float32")
    }

    fn linear(adapter: Option<Adapter>) -> Linear {
        let weight = Tensor::from_floats([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]], &Device::flex());
        Linear { weight: Weight::Dense(Param::from_tensor(weight)), bias: None, adapter }
    }

    #[test]
    fn an_adapter_starts_as_nothing_and_within_its_bound() {
        let adapter = Adapter::start([2, 3], 4, 2.0, 7, 1, &Device::flex());
        let x = Tensor::<2>::from_floats([[0.1, 0.2, 0.3], [4.0, -5.0, 6.0]], &Device::flex());
        let a = values(adapter.lora_a.val());
        assert!(a.iter().all(|x| x.abs() <= 3f32.powf(-0.5)) && a.iter().any(|x| x.abs() > 0.3), "{a:?}");
        let other = Adapter::start([2, 3], 4, 2.0, 7, 2, &Device::flex());
        assert_ne!(a, values(other.lora_a.val()), "every map draws its own");
        assert_eq!(values(linear(Some(adapter)).forward(x.clone())), values(linear(None).forward(x)));
    }

    #[test]
    fn the_addition_is_the_scaled_product() {
        let device = Device::flex();
        let a = Tensor::<2>::from_floats([[1.0, 0.0, 2.0]], &device);
        let b = Tensor::<2>::from_floats([[3.0], [-1.0]], &device);
        let adapter = Adapter::of(a, b, 0.5);
        assert_eq!(values(adapter.product()), [1.5, 0.0, 3.0, -0.5, 0.0, -1.0]);
        let x = Tensor::<2>::from_floats([[1.0, 1.0, 1.0]], &device);
        // 1 - 2 + 0.5 + 0.5 * 3 * 3, and 0.25 + 3 - 1 + 0.5 * 3 * -1.
        assert_eq!(values(linear(Some(adapter)).forward(x)), [4.0, 0.75]);
    }

    #[test]
    fn dropout_is_a_function_of_its_address_and_keeps_the_mean() {
        let dropout = Dropout { probability: 0.25, seed: 3, step: 5, pass: 0, map: 2 };
        let of = |dropout: Dropout| values(dropout.apply(Tensor::ones([40, 100], &Device::flex())));
        let factors = of(dropout);
        assert_eq!(factors, of(dropout));
        for other in [
            Dropout { seed: 4, ..dropout },
            Dropout { step: 6, ..dropout },
            Dropout { pass: 1, ..dropout },
            Dropout { map: 3, ..dropout },
        ] {
            assert_ne!(factors, of(other), "{other:?}");
        }
        let left_out = factors.iter().filter(|&&factor| factor == 0.0).count();
        assert!((900..1100).contains(&left_out), "{left_out} of 4000");
        assert!(factors.iter().all(|&factor| factor == 0.0 || factor == 4.0 / 3.0));
    }
}
