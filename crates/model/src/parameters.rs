//! Parameters by their names in the released layout, whatever their rank: what optimizers, checkpoints and exports see.
//!
//! A parameter is handed out flat. That makes one kind of value of matrices and vectors, and loses nothing: the shapes follow
//! from the configuration ([`expected_tensors`](crate::expected_tensors)); those of adapters, which PEFT's layout names, from
//! [`Model::each_adapter`].

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;

use crate::Model;
use crate::adapter::{LORA_A, LORA_B};

impl Model {
    /// Shows every parameter with its name, flat.
    pub fn each_parameter(&self, see: &mut dyn FnMut(&str, Tensor<1>)) {
        self.visit(&mut Seer { path: Path::default(), see });
    }

    /// Puts another tensor in every parameter's place: as many values, but perhaps of another type, or tracked.
    pub fn map_parameters(self, change: &mut dyn FnMut(&str, Tensor<1>) -> Tensor<1>) -> Self {
        self.map(&mut Changer { path: Path::default(), change })
    }
}

/// Where a traversal stands.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        // The way a weight is stored is no part of its name.
        self.0.push(if container.starts_with("Enum:") { String::new() } else { name.to_owned() });
    }

    fn leave(&mut self) {
        self.0.pop();
    }

    /// The name in the released layout. Fields are named after it, but for what Rust does not allow.
    fn name(&self) -> String {
        let parts: Vec<&str> = self.0.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        let name = parts.join(".").replace(".mlp_0.", ".mlp.0.").replace(".mlp_2.", ".mlp.2.");
        match name.split_once(".adapter.") {
            Some((module, "lora_a")) => format!("{module}{LORA_A}"),
            Some((module, _)) => format!("{module}{LORA_B}"),
            None if name == "visual.patch_embed.proj" => format!("{name}.weight"),
            None => name,
        }
    }
}

struct Seer<'a> {
    path: Path,
    see: &'a mut dyn FnMut(&str, Tensor<1>),
}

impl ModuleVisitor for Seer<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.leave();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let count = value.shape().num_elements();
        (self.see)(&self.path.name(), value.reshape([count]));
    }
}

struct Changer<'a> {
    path: Path,
    change: &'a mut dyn FnMut(&str, Tensor<1>) -> Tensor<1>,
}

impl ModuleMapper for Changer<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.leave();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| {
            let shape = value.dims();
            let count = value.shape().num_elements();
            (self.change)(&self.path.name(), value.reshape([count])).reshape(shape)
        })
    }
}
