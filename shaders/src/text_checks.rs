//! The rules of the crate's documentation, held against every kernel's text: what naga makes of it under WebGPU's
//! defaults, and what its comments must say.

use naga::proc::Layouter;
use naga::valid::{Capabilities, GlobalUse, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, GlobalVariable, Module, ScalarKind, StorageAccess, TypeInner};

use crate::{KERNELS, Kernel, Role};

/// What naga counts as a capability although every WebGPU device has it: `unpack2x16float`.
const CORE: Capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;

fn parse(kernel: &Kernel) -> (Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(kernel.wgsl)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(kernel.wgsl, kernel.name)));
    let info = Validator::new(ValidationFlags::all(), CORE)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}: {}", kernel.name, error.emit_to_string(kernel.wgsl)));
    (module, info)
}

/// The variables of the module with how its entry point uses them.
fn globals<'a>(module: &'a Module, info: &'a ModuleInfo) -> Vec<(&'a GlobalVariable, GlobalUse)> {
    let uses = info.get_entry_point(0);
    module.global_variables.iter().map(|(handle, variable)| (variable, uses[handle])).collect()
}

#[test]
fn naga_accepts_every_kernel_without_any_capability_beyond_webgpus() {
    for kernel in KERNELS {
        parse(&kernel);
    }
}

#[test]
fn one_entry_point_with_the_workgroup_that_the_table_names() {
    for kernel in KERNELS {
        let (module, _) = parse(&kernel);
        assert_eq!(module.entry_points.len(), 1, "{}", kernel.name);
        let entry = &module.entry_points[0];
        assert_eq!(entry.name, "main", "{}", kernel.name);
        let invocations: u32 = entry.workgroup_size.iter().product();
        assert_eq!(invocations, kernel.workgroup, "{}", kernel.name);
        assert!(invocations <= 256, "{}", kernel.name);
    }
}

#[test]
fn bindings_are_as_the_table_names_them() {
    for kernel in KERNELS {
        let (module, info) = parse(&kernel);
        let mut bound: Vec<(&GlobalVariable, GlobalUse)> =
            globals(&module, &info).into_iter().filter(|(variable, _)| variable.binding.is_some()).collect();
        bound.sort_by_key(|(variable, _)| variable.binding.map(|at| at.binding));
        for (at, (variable, uses)) in bound.iter().enumerate() {
            let place = format!("{} {:?}", kernel.name, variable.name);
            let binding = variable.binding.expect("filtered");
            assert_eq!((binding.group, binding.binding as usize), (0, at), "{place}");
            assert!(uses.contains(GlobalUse::READ) || uses.contains(GlobalUse::WRITE), "{place} is unused");
        }
        assert!(kernel.bindings.len() <= 8, "{}: WebGPU's default is 8 storage buffers", kernel.name);

        let (uniform, _) = bound.pop().expect("every kernel has its uniform block");
        assert_eq!(uniform.space, AddressSpace::Uniform, "{}: the last binding", kernel.name);
        assert_eq!(bound.len(), kernel.bindings.len(), "{}", kernel.name);
        for ((variable, uses), named) in bound.into_iter().zip(kernel.bindings) {
            let place = format!("{} {}", kernel.name, named.name);
            assert_eq!(variable.name.as_deref(), Some(named.name), "{place}");
            let access = StorageAccess::LOAD | StorageAccess::STORE;
            assert_eq!(variable.space, AddressSpace::Storage { access }, "{place}: var<storage, read_write>");
            let unsized_array = matches!(module.types[variable.ty].inner, TypeInner::Array { .. });
            assert!(unsized_array, "{place}: an array");
            assert_eq!(uses.contains(GlobalUse::WRITE), named.role != Role::Read, "{place}: its role");
        }
    }
}

#[test]
fn params_are_the_uniform_block_in_an_even_count_of_words() {
    for kernel in KERNELS {
        let (module, info) = parse(&kernel);
        let globals = globals(&module, &info);
        let (uniform, _) =
            globals.iter().find(|(variable, _)| variable.space == AddressSpace::Uniform).expect("a block");
        let TypeInner::Struct { members, span } = &module.types[uniform.ty].inner else {
            panic!("{}: the block is a struct", kernel.name);
        };
        assert_eq!(*span as usize, kernel.params_bytes, "{}: Params differs from Info", kernel.name);
        assert_eq!(members.len() * 4, kernel.params_bytes, "{}: 32-bit scalars only", kernel.name);
        assert_eq!(members.len() % 2, 0, "{}: an even count", kernel.name);
        for member in members {
            let TypeInner::Scalar(scalar) = module.types[member.ty].inner else {
                panic!("{} {:?} is no scalar", kernel.name, member.name);
            };
            assert!(
                matches!(scalar.kind, ScalarKind::Uint | ScalarKind::Float),
                "{} {:?}",
                kernel.name,
                member.name
            );
        }
        for case in (kernel.cases)() {
            assert_eq!(case.words.len() * 4, kernel.params_bytes, "{} on {}", kernel.name, case.name);
        }
    }
}

#[test]
fn workgroup_memory_fits_the_default_limit() {
    for kernel in KERNELS {
        let (module, _) = parse(&kernel);
        let mut layouter = Layouter::default();
        layouter.update(module.to_ctx()).expect("a validated module has a layout");
        // WebGPU counts each variable rounded up to 16 bytes.
        let bytes: u32 = module
            .global_variables
            .iter()
            .filter(|(_, variable)| variable.space == AddressSpace::WorkGroup)
            .map(|(_, variable)| layouter[variable.ty].size.next_multiple_of(16))
            .sum();
        assert!(bytes <= 16_384, "{}: {bytes} bytes of workgroup memory", kernel.name);
    }
}

#[test]
fn texts_are_self_contained_and_explained() {
    for kernel in KERNELS {
        let name = kernel.name;
        for forbidden in ["{{", "#import", "enable ", "requires ", "arrayLength", "subgroup", "f16"] {
            assert!(!kernel.wgsl.contains(forbidden), "{name} holds {forbidden:?}");
        }
        let header: Vec<&str> = kernel.wgsl.lines().take_while(|line| line.starts_with("//")).collect();
        for part in ["// Parallel: ", "// Shapes: ", "// Limits: "] {
            assert!(header.iter().any(|line| line.starts_with(part)), "{name}: its header lacks {part:?}");
        }
        let in_block = |line: &&str| line.starts_with("    ") && line.contains("32,");
        let block = kernel
            .wgsl
            .lines()
            .skip_while(|line| !line.starts_with("struct Info"))
            .take_while(|line| *line != "}");
        for field in block.filter(in_block) {
            assert!(field.contains(" // "), "{name}: field without a comment: {field}");
        }
        for line in kernel.wgsl.lines() {
            let data = line.starts_with("@group(0)") && !line.contains("var<uniform>");
            let described = line.split_once(" // ").is_some_and(|(_, comment)| {
                comment.starts_with('[') && (comment.contains("read") || comment.contains("written"))
            });
            assert!(!data || described, "{name}: binding without shape and use: {line}");
        }
    }
}

/// Chrome's own compiler, uniformity analysis included; the browser suite runs it too.
#[test]
#[ignore = "needs Dawn's tint on the PATH"]
fn tint_accepts_every_kernel() {
    for kernel in KERNELS {
        let path = format!("{}/src/{}.wgsl", env!("CARGO_MANIFEST_DIR"), kernel.name);
        let output = std::process::Command::new("tint")
            .args(["--format", "wgsl", &path, "-o", "/dev/null"])
            .output()
            .expect("tint is on the PATH");
        assert!(output.status.success(), "{}: {}", kernel.name, String::from_utf8_lossy(&output.stderr));
    }
}
