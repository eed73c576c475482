//! Adapters in the layout of PEFT: `adapter_config.json` beside `adapter_model.safetensors`.
//!
//! Parameters are named `base_model.model.NAME.lora_A.weight`, where NAME is the module's in transformers. What PEFT can say
//! and the model has no place for (DoRA, trained biases or embeddings, starts that change the base, other kinds of adapters) is
//! refused by name.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use wethink_model::{Adapter, Config, LORA_A, LORA_B, Model};

use crate::train::files::write_tensors;
use crate::train::lora::{Lora, maps};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";

/// Adapters of a folder, each with the name of its map in the released layout.
#[derive(Debug)]
pub struct Adapters {
    matrices: BTreeMap<String, Scaled>,
}

/// s, and both matrices, `[r, in]` and `[out, r]`.
type Scaled = (f64, [Tensor<2>; 2]);

/// Rank and alpha, in general and of the modules that have their own.
#[derive(Debug, PartialEq)]
struct Sizes {
    rank: usize,
    alpha: f64,
    root: bool,
    ranks: Vec<(String, usize)>,
    alphas: Vec<(String, f64)>,
}

/// The name of a module in transformers.
fn theirs(name: &str) -> String {
    match (name.strip_prefix("visual."), name.strip_prefix("model.")) {
        (Some(rest), _) => format!("model.visual.{rest}"),
        (_, Some(rest)) => format!("model.language_model.{rest}"),
        _ => name.to_owned(),
    }
}

/// The name in the released layout, also of what transformers called it before version 4.52.
fn ours(name: &str) -> String {
    match (name.strip_prefix("model.visual."), name.strip_prefix("model.language_model.")) {
        (Some(rest), _) => format!("visual.{rest}"),
        (_, Some(rest)) => format!("model.{rest}"),
        _ => name.to_owned(),
    }
}

/// Writes the adapters of a model to a folder, which must not exist: beside its place first.
pub fn write(model: &Model, lora: &Lora, base: &Path, out: &Path) -> Result<()> {
    let mut modules = Vec::new();
    let mut tensors = Vec::new();
    model.each_adapter(&mut |name, adapter| {
        modules.push(theirs(name));
        for (end, matrix) in [(LORA_A, adapter.lora_a.val()), (LORA_B, adapter.lora_b.val())] {
            let shape = matrix.dims();
            tensors.push((
                format!("{PREFIX}{}{end}", theirs(name)),
                shape,
                matrix.reshape([shape[0] * shape[1]]),
            ));
        }
    });
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.display().to_string(),
        "inference_mode": true,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "use_rslora": lora.rslora,
        "target_modules": modules,
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
        "modules_to_save": null,
    });
    let part = out.with_added_extension("part");
    let write = || -> Result<()> {
        fs::create_dir_all(&part)?;
        fs::write(part.join(CONFIG), serde_json::to_vec_pretty(&config)?)?;
        let tensors = tensors.iter().map(|(name, shape, value)| (name.clone(), shape.to_vec(), value));
        write_tensors(&part.join(WEIGHTS), tensors, DType::F32)?;
        Ok(fs::rename(&part, out)?)
    };
    write()
        .inspect_err(|_| drop(fs::remove_dir_all(&part)))
        .with_context(|| format!("{}: cannot be written", out.display()))
}

impl Adapters {
    /// Reads a folder and checks it against a checkpoint: every matrix must have its other one and fit a map.
    pub fn open(dir: &Path, config: &Config) -> Result<Self> {
        let settings = fs::read(dir.join(CONFIG)).with_context(|| dir.join(CONFIG).display().to_string())?;
        let sizes = sizes_of(&settings).with_context(|| dir.join(CONFIG).display().to_string())?;
        let path = dir.join(WEIGHTS);
        let read = || -> Result<BTreeMap<String, Scaled>> {
            // SAFETY: as in every loader that maps, a file shortened meanwhile ends the process by a signal.
            let map = unsafe { Mmap::map(&File::open(&path)?)? };
            matrices(&SafeTensors::deserialize(&map)?, &sizes, config)
        };
        Ok(Self { matrices: read().with_context(|| path.display().to_string())? })
    }

    /// The model with these adapters beside its weights, in their type.
    pub fn put(self, model: Model) -> Model {
        let (device, dtype) = (model.device(), FloatDType::from(model.dtype()));
        let mut matrices = self.matrices;
        model.adapt(&mut |name, _, _| {
            let (scale, matrices) = matrices.remove(name)?;
            let [a, b] = matrices.map(|matrix| matrix.to_device(&device).cast(dtype));
            Some(Adapter::of(a, b, scale))
        })
    }
}

impl Sizes {
    /// Rank and s of a module, by its name in transformers.
    fn of(&self, module: &str) -> (usize, f64) {
        let rank = own(&self.ranks, module).unwrap_or(self.rank);
        let alpha = own(&self.alphas, module).unwrap_or(self.alpha);
        (rank, alpha / if self.root { (rank as f64).sqrt() } else { rank as f64 })
    }
}

/// The value of the first name that the module has, or that its name ends in after a dot.
fn own<T: Copy>(values: &[(String, T)], module: &str) -> Option<T> {
    let has = |name: &str| match name.strip_prefix('^') {
        Some(whole) => whole == module,
        None => module.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
    };
    values.iter().find(|(name, _)| has(name)).map(|(_, value)| *value)
}

/// Ranks and scales of `adapter_config.json`.
fn sizes_of(text: &[u8]) -> Result<Sizes> {
    let config: Value = serde_json::from_slice(text).context("not JSON")?;
    if config["peft_type"] != "LORA" {
        bail!("peft_type is {}; only \"LORA\" can be read", config["peft_type"]);
    }
    for (field, plain) in [("bias", json!("none")), ("use_dora", json!(false)), ("lora_bias", json!(false))] {
        let value = &config[field];
        if !value.is_null() && *value != plain {
            bail!("{field} is {value}; only {plain} can be read");
        }
    }
    for field in [
        "modules_to_save",
        "layer_replication",
        "trainable_token_indices",
        "target_parameters",
        "alora_invocation_tokens",
        "arrow_config",
        "kasa_config",
        "monteclora_config",
        "velora_config",
        "use_bdlora",
        "use_qalora",
    ] {
        let value = &config[field];
        let empty = value.is_null()
            || *value == json!(false)
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(serde_json::Map::is_empty);
        if !empty {
            bail!("{field} is {value}; it cannot be read and must be empty");
        }
    }
    // The others (PiSSA, OLoRA, CorDA, LoftQ and more) subtract something from the weights that the adapter stands beside.
    let start = &config["init_lora_weights"];
    if !start.is_null()
        && !start.is_boolean()
        && !["gaussian", "eva", "orthogonal"].iter().any(|kind| start == kind)
    {
        bail!(
            "init_lora_weights is {start}, which changes the weights of the base; convert the adapter to plain LoRA in PEFT \
             (save_pretrained with path_initial_model_for_weight_conversion)"
        );
    }
    let rank = |value: &Value| value.as_u64().filter(|&rank| rank > 0).map(|rank| rank as usize);
    Ok(Sizes {
        rank: rank(&config["r"]).context("r is no positive number")?,
        alpha: config["lora_alpha"].as_f64().context("lora_alpha is no number")?,
        root: config["use_rslora"].as_bool().unwrap_or(false),
        ranks: pattern(&config, "rank_pattern", &rank)?,
        alphas: pattern(&config, "alpha_pattern", &Value::as_f64)?,
    })
}

/// Values of single modules. PEFT takes the keys for regular expressions; names are all that is read here.
fn pattern<T>(config: &Value, field: &str, read: &dyn Fn(&Value) -> Option<T>) -> Result<Vec<(String, T)>> {
    let entries = match &config[field] {
        Value::Null => return Ok(Vec::new()),
        entries => entries.as_object().with_context(|| format!("{field} is no object"))?,
    };
    let entry = |(key, value): (&String, &Value)| {
        let name = key.strip_prefix('^').unwrap_or(key);
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte)) {
            bail!("{field}: {key:?} is a regular expression; only names of modules can be read");
        }
        Ok((key.clone(), read(value).with_context(|| format!("{field}: {key:?} has no positive number"))?))
    };
    entries.iter().map(entry).collect()
}

/// Both matrices of every map in a file, in float32.
fn matrices(file: &SafeTensors, sizes: &Sizes, config: &Config) -> Result<BTreeMap<String, Scaled>> {
    let known = maps(config);
    let mut found: BTreeMap<String, (f64, [Option<Tensor<2>>; 2])> = BTreeMap::new();
    for (name, view) in file.tensors() {
        let bare = name.strip_prefix(PREFIX).unwrap_or(&name);
        // PEFT stores a copy of the weight that an adapted head or embedding has anyway.
        if bare.ends_with(".base_layer.weight") {
            continue;
        }
        let (theirs, which) = match (bare.strip_suffix(LORA_A), bare.strip_suffix(LORA_B)) {
            (Some(module), _) => (module, 0),
            (_, Some(module)) => (module, 1),
            _ => bail!("{name} is no matrix of a LoRA adapter"),
        };
        let (module, (rank, scale)) = (ours(theirs), sizes.of(theirs));
        let Some([out, input]) = known.get(&module) else {
            bail!(
                "{name}: the checkpoint has no linear map {module}; is the adapter made for another model?"
            );
        };
        let want = if which == 0 { [rank, *input] } else { [*out, rank] };
        if view.shape() != want {
            bail!("{name} is {:?}, but the checkpoint and r = {rank} need {want:?}", view.shape());
        }
        let data = TensorData::new(values(&view).with_context(|| name.clone())?, want);
        let matrix = Tensor::from_data(data, (&Device::flex(), DType::F32));
        found.entry(module).or_insert((scale, [None, None])).1[which] = Some(matrix);
    }
    if found.is_empty() {
        bail!("no adapter in the file");
    }
    let both = |(module, (scale, pair)): (String, (f64, [Option<Tensor<2>>; 2]))| match pair {
        [Some(a), Some(b)] => Ok((module, (scale, [a, b]))),
        [a, _] => bail!("{module}{} is missing", if a.is_none() { LORA_A } else { LORA_B }),
    };
    found.into_iter().map(both).collect()
}

fn values(view: &TensorView) -> Result<Vec<f32>> {
    let dtype = match view.dtype() {
        Dtype::F32 => DType::F32,
        Dtype::BF16 => DType::BF16,
        Dtype::F16 => DType::F16,
        other => bail!("type {other:?}; only F32, F16 and BF16 are read"),
    };
    let data = TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), dtype);
    data.convert_dtype(DType::F32).try_into_vec().map_err(|error| anyhow!("{error:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_translated_there_and_back() {
        for (own, module) in [
            ("model.layers.0.self_attn.q_proj", "model.language_model.layers.0.self_attn.q_proj"),
            ("visual.blocks.3.attn.qkv", "model.visual.blocks.3.attn.qkv"),
            ("lm_head", "lm_head"),
        ] {
            assert_eq!((theirs(own).as_str(), ours(module).as_str()), (module, own));
            assert_eq!(ours(own), own, "the older layout");
        }
    }

    fn with(field: &str, value: Value) -> Result<Sizes> {
        let mut config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 16, "bias": "none"});
        config[field] = value;
        sizes_of(config.to_string().as_bytes())
    }

    #[test]
    fn ranks_and_scales_are_those_of_the_module() {
        let q = "model.language_model.layers.1.self_attn.q_proj";
        let of = |field: &str, value: Value| with(field, value).expect("sound").of(q);
        assert_eq!(of("rank_pattern", json!({})), (4, 4.0));
        assert_eq!(of("use_rslora", json!(true)), (4, 8.0));
        assert_eq!(of("rank_pattern", json!({"k_proj": 2, "q_proj": 8})), (8, 2.0));
        assert_eq!(of("rank_pattern", json!({"1.self_attn.q_proj": 8, "q_proj": 2})), (8, 2.0), "the first");
        assert_eq!(of("rank_pattern", json!({"proj": 8, "f_attn.q_proj": 8, "^q_proj": 8})), (4, 4.0));
        assert_eq!(of("rank_pattern", json!({format!("^{q}"): 8})), (8, 2.0));
        assert_eq!(of("alpha_pattern", json!({"q_proj": 2})), (4, 0.5));
    }

    #[test]
    fn what_the_model_has_no_place_for_is_refused_by_name() {
        for (field, value) in [
            ("use_qalora", json!(false)),
            ("init_lora_weights", json!(true)),
            ("init_lora_weights", json!("gaussian")),
            ("alora_invocation_tokens", json!(null)),
        ] {
            with(field, value).expect(field);
        }
        for (field, value) in [
            ("peft_type", json!("IA3")),
            ("bias", json!("all")),
            ("use_dora", json!(true)),
            ("modules_to_save", json!(["lm_head"])),
            ("target_parameters", json!(["experts.down_proj"])),
            ("use_qalora", json!(true)),
            ("init_lora_weights", json!("pissa_niter_16")),
            ("rank_pattern", json!({"layers.[01].q_proj": 8})),
            ("rank_pattern", json!({"q_proj": 0})),
            ("alpha_pattern", json!({"q_proj": "x"})),
            ("alpha_pattern", json!([1])),
            ("r", json!(0)),
            ("lora_alpha", json!("x")),
        ] {
            let error = with(field, value).expect_err(field).to_string();
            assert!(error.contains(field), "{error}");
        }
    }
}
