//! Values that are computed a second time in the backward pass instead of being kept (Chen et al., arXiv 1604.06174).
//!
//! burn's own checkpointing works operation by operation and keeps every product of matrices. This is one operation for
//! any stretch of a computation: its forward pass records nothing, its backward pass runs the stretch again with a record
//! of its own, which is gone before the stretch before it is run again. Stretches nest.
//!
//! Without automatic differentiation (the browser's build has none) a stretch is simply run.

use burn::tensor::Tensor;

use crate::Launches;

/// Tensors that one stretch may take: an array's length is part of an operation's type in burn.
pub const MOST_INPUTS: usize = 32;

/// Runs `body` on `inputs` without a record of what happens within; the backward pass runs it once more with one.
///
/// Tensors are flat, so that one operation serves all ranks. `body` must depend on nothing that is tracked but `inputs`, and
/// must compute the same whenever it is called. Values and gradients are those of the recorded computation, bit for bit: the
/// first run goes through automatic differentiation as well, which computes some operations otherwise than a plain backend
/// (softmax on the CPU, all that has a kernel of ours on wgpu), but with nothing tracked, so that nothing is kept.
///
/// # Panics
///
/// If there are more than [`MOST_INPUTS`] inputs.
pub fn recompute(
    inputs: Vec<Tensor<1>>,
    body: impl Fn(&[Tensor<1>], &mut Launches) -> Tensor<1> + Send + Sync + 'static,
    launches: &mut Launches,
) -> Tensor<1> {
    assert!(inputs.len() <= MOST_INPUTS, "{} inputs, at most {MOST_INPUTS}", inputs.len());
    #[cfg(not(target_arch = "wasm32"))]
    if inputs.iter().any(Tensor::is_tracked) {
        let body: std::sync::Arc<recorded::Body> = std::sync::Arc::new(body);
        return recorded::stretch::<burn::backend::Flex>(&inputs, &body, launches)
            .or_else(|| recorded::stretch::<burn_wgpu::CubeBackend>(&inputs, &body, launches))
            // No other backend is built in; recorded as a whole it would be right as well.
            .unwrap_or_else(|| body(&inputs, launches));
    }
    body(&inputs, launches)
}

/// The operation, for backends that track gradients.
#[cfg(not(target_arch = "wasm32"))]
mod recorded {
    use std::fmt;
    use std::sync::Arc;

    use burn::backend::autodiff::checkpoint::base::Checkpointer;
    use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
    use burn::backend::autodiff::grads::Gradients;
    use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
    use burn::backend::{Autodiff, Backend, DispatchKindConversion, DispatchTensor};
    use burn::tensor::Tensor;

    use super::MOST_INPUTS;
    use crate::Launches;

    /// What is run twice.
    pub type Body = dyn Fn(&[Tensor<1>], &mut Launches) -> Tensor<1> + Send + Sync;

    #[derive(Debug)]
    struct Stretch;

    /// What is kept between the two runs.
    #[derive(Clone)]
    struct Kept {
        inputs: Vec<Tensor<1>>,
        body: Arc<Body>,
    }

    impl fmt::Debug for Kept {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a stretch of {} inputs", self.inputs.len())
        }
    }

    impl<B: Backend> Backward<B, MOST_INPUTS> for Stretch
    where
        DispatchTensor: DispatchKindConversion<B>,
    {
        type State = Kept;

        fn backward(self, ops: Ops<Kept, MOST_INPUTS>, grads: &mut Gradients, _: &mut Checkpointer) {
            let upstream = Tensor::<1>::from_primitive::<B>(grads.consume::<B>(&ops.node));
            let Kept { inputs, body } = ops.state;
            let wanted = inputs.into_iter().zip(&ops.parents);
            let leaves: Vec<Tensor<1>> = wanted
                .map(|(input, parent)| match parent {
                    Some(_) => input.autodiff().require_grad(),
                    None => input,
                })
                .collect();
            let output = body(&leaves, &mut Launches::new());
            if !output.is_tracked() {
                return;
            }
            let mut within = (output * upstream).sum().backward();
            for (leaf, parent) in leaves.into_iter().zip(ops.parents) {
                let Some(parent) = parent else { continue };
                if let Some(gradient) = leaf.grad_remove(&mut within) {
                    let gradient =
                        gradient.try_into_primitive::<B>().expect("a gradient lives beside its leaf");
                    grads.register::<B>(parent.id, gradient);
                }
            }
        }
    }

    /// Records the stretch as one step, if the inputs are of the backend `B`.
    pub fn stretch<B: Backend>(
        inputs: &[Tensor<1>],
        body: &Arc<Body>,
        launches: &mut Launches,
    ) -> Option<Tensor<1>>
    where
        DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
    {
        let guard = |x: &Tensor<1>| -> Option<NodeGuard> {
            Some(x.clone().autodiff().try_into_primitive::<Autodiff<B>>().ok()?.node())
        };
        let mut nodes = inputs.iter().map(guard).collect::<Option<Vec<_>>>()?;
        let values: Vec<Tensor<1>> = inputs.iter().map(|x| x.clone().inner()).collect();
        // What fills the array up is tracked by nobody and so no parent.
        let filler = Tensor::<1>::zeros([1], &values.first()?.device());
        while nodes.len() < MOST_INPUTS {
            nodes.push(guard(&filler)?);
        }
        let nodes: [NodeGuard; MOST_INPUTS] = nodes.try_into().ok()?;
        let untracked: Vec<Tensor<1>> = values.iter().map(|x| x.clone().autodiff()).collect();
        let output = body(&untracked, launches).inner().try_into_primitive::<B>().ok()?;
        let recorded = match Stretch.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish(Kept { inputs: values, body: body.clone() }, output),
            OpsKind::UnTracked(step) => step.finish(output),
        };
        Some(Tensor::from_primitive::<Autodiff<B>>(recorded))
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn bits(x: Tensor<1>) -> Vec<u32> {
        x.into_data().try_into_vec::<f32>().expect("float32").into_iter().map(f32::to_bits).collect()
    }

    fn body(x: &[Tensor<1>], _: &mut Launches) -> Tensor<1> {
        let product = x[0].clone().reshape([2, 3]).matmul(x[1].clone().reshape([3, 2]));
        (product.clone().exp() + product).reshape([4])
    }

    /// Bits of the output and of the gradients of both inputs, under an upstream gradient that is not one.
    fn outcome(run: impl Fn(Vec<Tensor<1>>) -> Tensor<1>, tracked: [bool; 2]) -> Vec<Option<Vec<u32>>> {
        let device = Device::flex();
        let input = |values: [f32; 6], tracked: bool| {
            let x = Tensor::<1>::from_floats(values, &device);
            if tracked { x.autodiff().require_grad() } else { x }
        };
        let a = input([0.1, -0.2, 0.3, 0.7, 0.5, -0.6], tracked[0]);
        let b = input([0.3, 0.4, -0.9, 0.8, 0.2, 0.1], tracked[1]);
        let output = run(vec![a.clone(), b.clone()]);
        let upstream = Tensor::<1>::from_floats([1.0, -2.0, 0.3, 4.0], &device);
        let mut gradients = (output.clone() * upstream).sum().backward();
        let gradient = [a, b].map(|x| x.grad_remove(&mut gradients).map(bits));
        [vec![Some(bits(output.inner()))], gradient.to_vec()].concat()
    }

    #[test]
    fn a_stretch_has_the_values_and_gradients_of_what_it_stands_for() {
        for tracked in [[true, true], [true, false], [false, true]] {
            let recorded = outcome(|x| body(&x, &mut Launches::new()), tracked);
            let again = outcome(|x| recompute(x, body, &mut Launches::new()), tracked);
            assert_eq!(again, recorded, "{tracked:?}");
            assert_eq!(again[1].is_some(), tracked[0]);
            let nested = outcome(
                |x| recompute(x, |x, launches| recompute(x.to_vec(), body, launches), &mut Launches::new()),
                tracked,
            );
            assert_eq!(nested, recorded, "nested, {tracked:?}");
        }
    }

    #[test]
    fn a_stretch_is_run_once_forward_and_once_backward() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};
        let runs = Arc::new(AtomicUsize::new(0));
        let x = Tensor::<1>::from_floats([1.0, 2.0], &Device::flex());
        let counted = |x: Tensor<1>| {
            let runs = runs.clone();
            let body = move |x: &[Tensor<1>], _: &mut Launches| {
                runs.fetch_add(1, Ordering::Relaxed);
                x[0].clone().exp()
            };
            recompute(vec![x], body, &mut Launches::new())
        };
        counted(x.clone());
        assert_eq!(runs.load(Ordering::Relaxed), 1, "nothing is tracked");
        let output = counted(x.autodiff().require_grad());
        assert_eq!(runs.load(Ordering::Relaxed), 2);
        output.sum().backward();
        assert_eq!(runs.load(Ordering::Relaxed), 3);
    }
}
