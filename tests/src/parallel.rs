//! A step shared among devices: what one device gives, bit for bit where the order of the sum allows it.
//!
//! Threads of the CPU stand in for GPUs: the division of a step, the orders, the sum and the updates are those of several
//! GPUs, but for NCCL, which adds up. With two CUDA devices and a build with CUDA, that is tested as well:
//!
//! ```text
//! cargo test --features wethink-tests/cuda cuda_two_devices -- --ignored
//! ```

use std::process::Command;
use std::thread;

use burn::tensor::{DType, Device};
use wethink_trainer::folder::Folder;
use wethink_trainer::train::parallel::{Sum, Team};
use wethink_trainer::train::recipe::Recipe;
use wethink_trainer::train::replica::Replica;

use crate::commands::{assert_fails, run, trainer};
use crate::fixtures::assert_close;
use crate::runs::{Bench, assert_same, metrics, tensors};

fn shared(mut command: Command, devices: &str) -> Command {
    command.args(["--devices", devices]);
    command
}

/// Two passes have one sum, whoever adds them up: weights, moments, metrics and answers of all steps are the same bits. With
/// five devices, three have nothing to do.
#[test]
fn two_devices_train_as_one_bit_for_bit() {
    let (full, lora, frozen) = (Bench::new(), Bench::new(), Bench::new());
    lora.train_adapters();
    frozen.freeze_the_tower();
    let rows = format!("validation.rows={}", full.path("rows.jsonl").display());
    let measured = [&rows, "validation.every=3", "validation.answers=1", "validation.max_new_tokens=3"];
    for (what, bench, changes) in [
        ("everything", &full, &measured[..]),
        // A pass's dropout goes by its number, not by its device.
        ("adapters", &lora, &["lora.dropout=0.1", "memory.layout=packed", "memory.recompute_layers=true"]),
        ("kept features", &frozen, &["memory.features_mb=1.0", "memory.features_disk_mb=1.0"]),
    ] {
        bench.succeed(&mut bench.sft("one", changes));
        let want = bench.outcome("one");
        for devices in ["2", "5"] {
            bench.succeed(&mut shared(bench.sft(devices, changes), devices));
            eprintln!("{what} on {devices}");
            assert_same(&bench.outcome(devices), &want);
        }
        std::fs::remove_dir_all(bench.path("2").join("checkpoints/step-00000006")).expect("removed");
        bench.succeed(&mut shared(bench.resume("2"), "2"));
        assert_same(&bench.outcome("2"), &want);
    }
}

/// Further passes are added up in another order than one device has: the last digits differ, and nothing else.
#[test]
fn any_number_of_devices_trains_as_one_but_for_rounding() {
    let bench = Bench::new();
    let numbers = |name: &str| -> Vec<f64> {
        let lines = metrics(&bench.path(name));
        lines
            .iter()
            .flat_map(|line| ["loss", "norm"].map(|field| line[field].as_f64().expect(field)))
            .collect()
    };
    let packed = ["train.batch=6", "train.steps=3", "memory.layout=packed", "train.micro_tokens=150"];
    for (name, changes) in [("rows", &["train.batch=6", "train.steps=3"][..]), ("packed", &packed)] {
        bench.succeed(&mut bench.sft(name, changes));
        for devices in ["2", "3"] {
            let of = format!("{name}-{devices}");
            bench.succeed(&mut shared(bench.sft(&of, changes), devices));
            for (a, b) in numbers(&of).into_iter().zip(numbers(name)) {
                assert!((a - b).abs() <= 1e-4 * b.abs(), "{of}: {a} and {b}");
            }
        }
    }
}

#[test]
fn devices_that_cannot_share_a_run_are_refused() {
    let bench = Bench::new();
    let refused = |device: &str, words: &[&str]| {
        let mut command = trainer();
        command.arg("sft").arg(bench.path("recipe.toml")).arg("--out").arg(bench.path("run"));
        assert_fails(&run(command.args(["--device", device, "--devices", "2"])), 1, words);
        assert!(!bench.path("run").exists(), "nothing is left behind");
    };
    refused("wgpu", &["--devices 2", "--device cuda"]);
}

/// A team of two whose second device is made by `make`.
fn team(bench: &Bench, make: impl Fn(Replica) -> anyhow::Result<Replica> + Sync) -> anyhow::Result<()> {
    let recipe = Recipe::read(&bench.path("recipe.toml"), &[])?;
    let folder = Folder::open(&recipe.checkpoint)?;
    let replica = || {
        let model = folder.load(&Device::flex(), DType::F32, &mut |_, _| {})?;
        Replica::new(&recipe, model, None, DType::F32)
    };
    let (lead, further) = (replica()?, |_| make(replica()?));
    thread::scope(|scope| Team::start(scope, &recipe, lead, 1, &further, Sum::InTurn)?.check())
}

#[test]
fn a_device_that_fails_or_parts_from_the_others_is_named() {
    let bench = Bench::new();
    team(&bench, Ok).expect("both hold the same");
    let apart = |mut replica: Replica| {
        replica.model = replica.model.map_parameters(&mut |name, value| match name {
            "model.norm.weight" => value.mul_scalar(1.0 + 1e-6),
            _ => value,
        });
        Ok(replica)
    };
    let error = format!("{:#}", team(&bench, apart).expect_err("one parameter differs"));
    assert!(error.contains("device 1") && error.contains("model.norm.weight"), "{error}");
    let error = format!("{:#}", team(&bench, |_| anyhow::bail!("no room")).expect_err("never ready"));
    assert!(error.contains("device 1") && error.contains("no room"), "{error}");
    let error = format!("{:#}", team(&bench, |_| panic!("out of memory")).expect_err("gone"));
    assert!(error.contains("device 1") && error.contains("out of memory"), "{error}");
}

/// On GPUs each process chooses its own kernels for products, so that two runs agree to rounding; what NCCL adds up from two
/// devices is exact, and both devices hold the same bits afterwards, which the run itself checks before it saves.
#[test]
#[ignore = "needs two CUDA devices and --features wethink-tests/cuda; see the module's documentation"]
fn cuda_two_devices_train_as_one() {
    let bench = Bench::new();
    bench.train_adapters();
    let sft = |name: &str, device: [&str; 4]| {
        let mut command = trainer();
        command.arg("sft").arg(bench.path("recipe.toml")).arg("--out").arg(bench.path(name));
        bench.succeed(command.args(device).args(["--dtype", "f32"]));
        tensors(&bench.path(name).join("checkpoints/last/weights.safetensors"))
    };
    let one = sft("one", ["--device", "cuda", "--devices", "1"]);
    let two = sft("two", ["--device", "cuda", "--devices", "2"]);
    for (name, want) in &one {
        assert_close(name, &two[name], want);
    }
}

/// The sum of two gradients by NCCL is the sum that one device computes, bit for bit, on both devices.
#[test]
#[ignore = "needs two CUDA devices and --features wethink-tests/cuda; see the module's documentation"]
fn cuda_two_devices_add_up_exactly() {
    use burn::tensor::Tensor;
    use wethink_trainer::device::{DeviceArg, DtypeArg, open_several};
    use wethink_trainer::train::gradients::Gradients;
    let opened =
        open_several(DeviceArg::Cuda(0), Some(DtypeArg::F32), 2).expect("two CUDA devices with NCCL");
    let devices: Vec<Device> = opened.into_iter().map(|opened| opened.device).collect();
    let bench = Bench::new();
    let recipe = Recipe::read(&bench.path("recipe.toml"), &[]).expect("a recipe");
    let folder = Folder::open(&recipe.checkpoint).expect("a checkpoint");
    let waves = |count: usize, shift: usize| -> Vec<f32> {
        (0..count).map(|place| ((place * 7 + shift) as f32).sin() * (1.0 + (place % 13) as f32)).collect()
    };
    let names = vec!["model.norm.weight".to_owned(), "visual.patch_embed.proj.weight".to_owned()];
    // The first device lacks the gradient of the tower, as where its passes have no picture.
    let reduced = |rank: usize| {
        let model = folder.load(&devices[rank], DType::F32, &mut |_, _| {}).expect("it loads");
        let mut replica = Replica::new(&recipe, model, None, DType::F32).expect("a replica");
        let mut lengths = std::collections::BTreeMap::new();
        replica.model.each_parameter(&mut |name, value| _ = lengths.insert(name.to_owned(), value.dims()[0]));
        let mut gradients = Gradients::default();
        for name in &names[..=rank] {
            let values = waves(lengths[name], 100 * rank);
            gradients.put(name.clone(), Tensor::from_floats(&values[..], &devices[rank]));
        }
        replica.gradients = gradients;
        replica.all_reduce(&names, &devices);
        names
            .iter()
            .map(|name| {
                let sum = replica.gradients.of(name).expect("every name").clone();
                sum.into_data().try_into_vec::<f32>().expect("float32")
            })
            .collect::<Vec<_>>()
    };
    let [first, second] = thread::scope(|scope| {
        let second = scope.spawn(|| reduced(1));
        [reduced(0), second.join().expect("the second device")]
    });
    assert_eq!(first, second);
    let added: Vec<f32> =
        waves(first[0].len(), 0).iter().zip(waves(first[0].len(), 100)).map(|(a, b)| a + b).collect();
    assert_eq!(first, [added, waves(first[1].len(), 100)]);
}
