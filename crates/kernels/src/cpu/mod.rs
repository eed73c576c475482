//! The model's operations on the CPU, each one pass over the data and, where gradients are tracked, one step of the record
//! with a backward pass of its own.
//!
//! A composed body is six to ten operations of burn's, each of which goes through memory on one core and leaves a value for
//! the backward pass. Here a row is read once, by all cores, and what is kept is the inputs. Rows are dealt to cores in
//! pieces whose size does not depend on the number of cores, and sums over rows add up piece by piece: the bits of a result
//! do not depend on the machine.
//!
//! All of it is float32 on the `Flex` backend; other devices and types take the composed body, which is the definition.

mod adamw;
mod attention;
mod gate;
mod logprob;
mod norm;
mod product;
mod rope;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;

use std::fmt::Debug;
use std::ops::Range;

use burn::backend::Flex;
use burn::tensor::{DType, Tensor, TensorData};

pub use adamw::{AdamwStep, adamw};
pub(crate) use attention::{cached, causal, segments};
pub(crate) use gate::silu_mul;
pub(crate) use logprob::logprobs;
pub(crate) use norm::rms_norm;
pub(crate) use rope::{rotate, rotate_joined};

/// An operation on flat float32 inputs, in the layout that its own fields describe.
pub(crate) trait Operation<const N: usize>: Clone + Debug + Send + Sync + 'static {
    /// The inputs that the backward pass reads; it gets the others empty, and nothing holds them.
    const READS: [bool; N] = [true; N];

    /// The output, and what else the backward pass wants to know of it.
    fn forward(&self, inputs: [&[f32]; N]) -> (Vec<f32>, Vec<f32>);

    /// Gradients of the inputs that are `wanted`, from the output's; `kept` is what the forward pass said. What is not
    /// wanted may be empty.
    fn backward(
        &self,
        inputs: [&[f32]; N],
        kept: &[f32],
        upstream: &[f32],
        wanted: [bool; N],
    ) -> [Vec<f32>; N];
}

/// Runs an operation on flat inputs: the output in this shape. `None` where an input is not float32 on the CPU.
pub(crate) fn run<const N: usize, const R: usize>(
    operation: impl Operation<N>,
    inputs: [Tensor<1>; N],
    shape: [usize; R],
) -> Option<Tensor<R>> {
    if inputs.iter().any(|x| x.dtype() != DType::F32) {
        return None;
    }
    #[cfg(not(target_arch = "wasm32"))]
    if inputs.iter().any(Tensor::is_autodiff) {
        return Some(recorded::run(operation, inputs)?.reshape(shape));
    }
    let (output, _) = {
        let values = inputs.map(values);
        let mut all = Vec::with_capacity(N);
        for value in &values {
            all.push(value.as_ref()?.storage());
        }
        operation.forward(all.try_into().ok()?)
    };
    Some(Tensor::<1>::from_primitive::<Flex>(tensor(output)).reshape(shape))
}

type Values = <Flex as burn::backend::BackendTypes>::FloatTensorPrimitive;

/// The values of a tensor on the CPU, one after another from the start of their storage.
fn values(x: Tensor<1>) -> Option<Values> {
    Some(dense(x.try_into_primitive::<Flex>().ok()?))
}

/// A view that is not the whole of its storage is copied.
fn dense(x: Values) -> Values {
    let whole = x.layout().contiguous_offsets() == Some((0, x.bytes().len() / size_of::<f32>()));
    if whole { x } else { Values::from_data(x.into_data()) }
}

/// Whether a tensor is one that [`run`] takes, as far as its device goes.
fn on_cpu(x: &Tensor<1>) -> bool {
    #[cfg(not(target_arch = "wasm32"))]
    if x.is_autodiff() {
        return x.clone().try_into_primitive::<burn::backend::Autodiff<Flex>>().is_ok();
    }
    x.clone().try_into_primitive::<Flex>().is_ok()
}

fn tensor(values: Vec<f32>) -> Values {
    let count = values.len();
    Values::from_data(TensorData::new(values, [count]))
}

/// The operation as a step of the record.
#[cfg(not(target_arch = "wasm32"))]
mod recorded {
    use burn::backend::autodiff::checkpoint::base::Checkpointer;
    use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
    use burn::backend::autodiff::grads::Gradients;
    use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
    use burn::backend::{Autodiff, Flex};
    use burn::tensor::Tensor;

    use super::{Operation, Values, dense, tensor};

    #[derive(Debug)]
    struct Step<O>(O);

    /// What is kept for the backward pass.
    #[derive(Debug, Clone)]
    struct Kept<const N: usize> {
        inputs: [Option<Values>; N],
        more: Vec<f32>,
    }

    impl<const N: usize, O: Operation<N>> Backward<Flex, N> for Step<O> {
        type State = Kept<N>;

        fn backward(self, ops: Ops<Kept<N>, N>, grads: &mut Gradients, _: &mut Checkpointer) {
            let upstream = dense(grads.consume::<Flex>(&ops.node));
            let Kept { inputs, more } = ops.state;
            let wanted = ops.parents.each_ref().map(Option::is_some);
            let slices = inputs.each_ref().map(|x| x.as_ref().map_or(&[][..], |x| x.storage::<f32>()));
            let gradients = self.0.backward(slices, &more, upstream.storage(), wanted);
            for (gradient, parent) in gradients.into_iter().zip(ops.parents) {
                if let Some(parent) = parent {
                    grads.register::<Flex>(parent.id, tensor(gradient));
                }
            }
        }
    }

    pub fn run<const N: usize, O: Operation<N>>(operation: O, inputs: [Tensor<1>; N]) -> Option<Tensor<1>> {
        let mut nodes = Vec::with_capacity(N);
        let mut values = Vec::with_capacity(N);
        for input in inputs {
            let input = input.autodiff().try_into_primitive::<Autodiff<Flex>>().ok()?;
            let (value, node) = input.into_parts();
            nodes.push(node);
            values.push(dense(value));
        }
        let (Ok(nodes), Ok(inputs)) = (nodes.try_into(), <[Values; N]>::try_from(values)) else {
            return None;
        };
        let (output, more) = operation.forward(inputs.each_ref().map(|x| x.storage::<f32>()));
        let output = tensor(output);
        let step = Step(operation).prepare::<NoCheckpointing>(nodes).compute_bound();
        let recorded = match step.stateful() {
            OpsKind::Tracked(step) => {
                let mut reads = O::READS.into_iter();
                let inputs = inputs.map(|x| reads.next().is_some_and(|reads| reads).then_some(x));
                step.finish(Kept { inputs, more }, output)
            }
            OpsKind::UnTracked(step) => step.finish(output),
        };
        Some(Tensor::from_primitive::<Autodiff<Flex>>(recorded))
    }
}

/// Values that one piece of work has at least: below, another core costs more than it brings.
const PIECE: usize = 1 << 13;

/// Rows of `width` values that make a piece.
pub(crate) fn rows_of_piece(width: usize) -> usize {
    (PIECE / width.max(1)).max(1)
}

/// Calls `each` with ranges of rows that cover `rows` and the part of `out` that belongs to them, `width` values a row.
pub(crate) fn by_rows(
    out: &mut [f32],
    width: usize,
    rows_at_once: usize,
    each: impl Fn(Range<usize>, &mut [f32]) + Sync,
) {
    let rows = out.len() / width.max(1);
    let run = |(piece, out): (usize, &mut [f32])| {
        let first = piece * rows_at_once;
        each(first..rows.min(first + rows_at_once), out);
    };
    #[cfg(not(target_arch = "wasm32"))]
    {
        use rayon::prelude::*;
        if rows > rows_at_once {
            out.par_chunks_mut(width.max(1) * rows_at_once).enumerate().for_each(run);
            return;
        }
    }
    out.chunks_mut(width.max(1) * rows_at_once).enumerate().for_each(run);
}

/// e^x within 2 units in the last place for x between -87 and 88, 0 below and a large number above: a loop over it is one of
/// vectors, which the library's is not (Cephes, `expf`).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let bounded = x.clamp(-87.3, 88.3);
    // Adding and taking away 1.5 * 2^23 rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let n = (bounded * std::f32::consts::LOG2_E + ROUND) - ROUND;
    // ln 2 in two parts, the first exact in few bits.
    let r = bounded - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 0.166_666_65;
    let p = p * r + 0.5;
    let value = (p * r * r + r + 1.0) * f32::from_bits(((n as i32 + 127) << 23) as u32);
    if x < -87.3 { 0.0 } else { value }
}
