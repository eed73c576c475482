//! Parts of the model as stretches that are run again in the backward pass, with their tracked parameters as inputs.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use wethink_kernels::{Launches, recompute};

/// Runs `run` on `module` and `x` without keeping what happens within; the backward pass runs it again. `shape` is that of
/// the result. What `run` holds beside must not be tracked.
///
/// # Panics
///
/// If the module has more tracked parameters than [`recompute`] takes inputs, less one; layers and blocks with an adapter
/// beside every map have at most 26.
pub(crate) fn recomputed<M, const I: usize, const O: usize>(
    module: &M,
    x: Tensor<I>,
    shape: [usize; O],
    run: impl Fn(&M, Tensor<I>, &mut Launches) -> Tensor<O> + Send + Sync + 'static,
    launches: &mut Launches,
) -> Tensor<O>
where
    M: Module + Send + Sync + 'static,
{
    Bare::new(module).recomputed(x, shape, run, launches)
}

/// A module and, apart from it, its tracked parameters: for several stretches on the same module, whose gradients then meet
/// one by one instead of being held until all are there.
pub(crate) struct Bare<M> {
    module: M,
    parameters: Vec<Tensor<1>>,
    taken: Vec<bool>,
}

impl<M: Module + Send + Sync + 'static> Bare<M> {
    pub fn new(module: &M) -> Self {
        let mut taker = Taker { parameters: Vec::new(), taken: Vec::new() };
        let module = module.clone().map(&mut taker);
        let Taker { parameters, taken } = taker;
        Self { module, parameters, taken }
    }

    /// As the function of this name.
    pub fn recomputed<const I: usize, const O: usize>(
        &self,
        x: Tensor<I>,
        shape: [usize; O],
        run: impl Fn(&M, Tensor<I>, &mut Launches) -> Tensor<O> + Send + Sync + 'static,
        launches: &mut Launches,
    ) -> Tensor<O> {
        let dims = x.dims();
        let (module, taken) = (self.module.clone(), self.taken.clone());
        let inputs = std::iter::once(flat(x)).chain(self.parameters.iter().cloned()).collect();
        let body = move |inputs: &[Tensor<1>], launches: &mut Launches| {
            let (x, values) = inputs.split_first().expect("the module's input comes first");
            let mut giver = Giver { taken: taken.iter(), values: values.iter() };
            flat(run(&module.clone().map(&mut giver), x.clone().reshape(dims), launches))
        };
        recompute(inputs, body, launches).reshape(shape)
    }
}

fn flat<const R: usize>(x: Tensor<R>) -> Tensor<1> {
    let count = x.shape().num_elements();
    x.reshape([count])
}

#[cfg(not(target_arch = "wasm32"))]
fn tracked<const R: usize>(x: &Tensor<R>) -> bool {
    x.is_tracked()
}

/// The browser's build has no automatic differentiation.
#[cfg(target_arch = "wasm32")]
fn tracked<const R: usize>(_: &Tensor<R>) -> bool {
    false
}

/// Takes tracked values out of a module's parameters and leaves constants.
struct Taker {
    parameters: Vec<Tensor<1>>,
    taken: Vec<bool>,
}

impl ModuleMapper for Taker {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| {
            self.taken.push(tracked(&value));
            if tracked(&value) {
                self.parameters.push(flat(value.clone()));
            }
            value.inner()
        })
    }
}

/// Puts values where the taker took them.
struct Giver<'a> {
    taken: std::slice::Iter<'a, bool>,
    values: std::slice::Iter<'a, Tensor<1>>,
}

impl ModuleMapper for Giver<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|own| match self.taken.next() {
            Some(true) => {
                self.values.next().expect("one value for each that was taken").clone().reshape(own.dims())
            }
            _ => own,
        })
    }
}
