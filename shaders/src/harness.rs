//! Runs a case of a kernel on whatever adapter there is and compares every buffer with the twin's.
//!
//! All buffers of a launch are slices of one, as a pooling allocator lays them, with sentinels before and behind each;
//! the sentinels behind are part of the binding, so that a write past the end lands on them and not on a bounds check.
//! What the kernel must write is filled with NaN first. Shaders run unchecked and without zeroed workgroup memory, with
//! WebGPU's default limits and no feature.

use crate::case::{Bound, Case, Expected, Slot};
use crate::{Kernel, Role};

const SENTINEL: u32 = 0xDEAD_BEEF;
const UNWRITTEN: u32 = 0x7FC0_0000; // a NaN
const GUARD: usize = 64; // words of sentinels behind a buffer; also the alignment that bindings ask for

/// An open device.
pub(crate) struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
}

/// A launch's buffers afterwards, as words: each binding's own, and the sentinels around all of them.
pub(crate) struct Memory {
    pub(crate) buffers: Vec<Vec<u32>>,
    pub(crate) sentinels: Vec<u32>,
}

impl Gpu {
    /// Opens the default adapter.
    ///
    /// # Panics
    ///
    /// Without any adapter: a suite that cannot run has failed.
    pub(crate) async fn open() -> Self {
        let mut options = wgpu::InstanceDescriptor::new_without_display_handle();
        options.flags = wgpu::InstanceFlags::VALIDATION;
        let adapter = wgpu::Instance::new(options)
            .request_adapter(&wgpu::RequestAdapterOptions::default())
            .await
            .unwrap_or_else(|error| {
                panic!(
                    "no WebGPU adapter ({error}). Linux without a GPU: install Mesa's software Vulkan (Debian: \
                     `apt-get install mesa-vulkan-drivers`). Chromium without a GPU: start it with \
                     `--enable-unsafe-webgpu --use-webgpu-adapter=swiftshader`."
                )
            });
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                required_limits: wgpu::Limits::default(),
                ..Default::default()
            })
            .await
            .unwrap_or_else(|error| {
                panic!("{:?} refuses WebGPU's default limits: {error}", adapter.get_info())
            });
        Self { device, queue }
    }

    /// Compiles a kernel with an automatic layout, as a launcher does that knows nothing but its text.
    pub(crate) async fn compile(&self, kernel: &Kernel) -> wgpu::ComputePipeline {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let source = wgpu::ShaderModuleDescriptor {
            label: Some(kernel.name),
            source: wgpu::ShaderSource::Wgsl(kernel.wgsl.into()),
        };
        // SAFETY: the kernels keep within their buffers and end their loops; the sentinels check the former.
        let module = unsafe {
            self.device.create_shader_module_trusted(source, wgpu::ShaderRuntimeChecks::unchecked())
        };
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        if let Some(error) = scope.pop().await {
            panic!("{} does not compile: {error}", kernel.name);
        }
        pipeline
    }

    /// Launches a case over `grid` workgroups and reads all of its memory back.
    pub(crate) async fn launch(
        &self,
        pipeline: &wgpu::ComputePipeline,
        case: &Case,
        grid: [u32; 3],
    ) -> Memory {
        use wgpu::BufferUsages as Usages;
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let (pool, starts) = lay_out(case);
        let bytes: &[u8] = bytemuck::cast_slice(&pool);
        let data = self.buffer(bytes.len(), Usages::STORAGE | Usages::COPY_DST | Usages::COPY_SRC);
        let info = self.buffer(case.words.len() * 4, Usages::UNIFORM | Usages::COPY_DST);
        let staging = self.buffer(bytes.len(), Usages::MAP_READ | Usages::COPY_DST);
        self.queue.write_buffer(&data, 0, bytes);
        self.queue.write_buffer(&info, 0, bytemuck::cast_slice(&case.words));

        let mut entries = Vec::new();
        for (binding, (slot, &start)) in case.slots.iter().zip(&starts).enumerate() {
            let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &data,
                offset: (start * 4) as u64,
                size: wgpu::BufferSize::new(((len(slot) + GUARD) * 4) as u64),
            });
            entries.push(wgpu::BindGroupEntry { binding: binding as u32, resource });
        }
        entries
            .push(wgpu::BindGroupEntry { binding: entries.len() as u32, resource: info.as_entire_binding() });
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });

        let mut encoder = self.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(grid[0], grid[1], grid[2]);
        drop(pass);
        encoder.copy_buffer_to_buffer(&data, 0, &staging, 0, None);
        self.queue.submit([encoder.finish()]);
        if let Some(error) = scope.pop().await {
            panic!("case \"{}\" does not launch: {error}", case.name);
        }
        split(case, &starts, &self.read(&staging).await)
    }

    fn buffer(&self, size: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: size as u64,
            usage,
            mapped_at_creation: false,
        })
    }

    async fn read(&self, staging: &wgpu::Buffer) -> Vec<u32> {
        let (sender, receiver) = futures_channel::oneshot::channel();
        staging.map_async(wgpu::MapMode::Read, .., |result| drop(sender.send(result)));
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device is lost");
        receiver.await.expect("the callback runs").expect("the buffer maps");
        let words =
            bytemuck::pod_collect_to_vec(&staging.get_mapped_range(..).expect("the buffer is mapped"));
        staging.unmap();
        words
    }
}

fn len(slot: &Slot) -> usize {
    match slot {
        Slot::Read(values) => values.words().len(),
        Slot::Written { want, .. } => want.len(),
        Slot::Updated { want, .. } => want.len(),
    }
}

/// The pool before the launch, and where in it each binding starts.
fn lay_out(case: &Case) -> (Vec<u32>, Vec<usize>) {
    let mut pool = vec![SENTINEL; GUARD];
    let mut starts = Vec::new();
    for slot in &case.slots {
        starts.push(pool.len());
        match slot {
            Slot::Read(values) => pool.extend(values.words()),
            Slot::Written { want, .. } => pool.resize(pool.len() + want.len(), UNWRITTEN),
            Slot::Updated { before, .. } => pool.extend(bytemuck::cast_slice::<f32, u32>(before)),
        }
        pool.resize((pool.len() + GUARD).next_multiple_of(GUARD), SENTINEL);
    }
    (pool, starts)
}

fn split(case: &Case, starts: &[usize], pool: &[u32]) -> Memory {
    let mut sentinels = Vec::new();
    let mut buffers = Vec::new();
    let mut at = 0;
    for (slot, &start) in case.slots.iter().zip(starts) {
        sentinels.extend(&pool[at..start]);
        at = start + len(slot);
        buffers.push(pool[start..at].to_vec());
    }
    sentinels.extend(&pool[at..]);
    Memory { buffers, sentinels }
}

/// Compares what a launch left with what the case wants.
///
/// # Errors
///
/// The first buffer, index, value and wanted value that differ, and how many do.
pub(crate) fn judge(kernel: &Kernel, case: &Case, memory: &Memory) -> Result<(), String> {
    let place = format!("{} on \"{}\"", kernel.name, case.name);
    assert_eq!(kernel.bindings.len(), case.slots.len(), "{place}: a slot a binding");
    if let Some(at) = memory.sentinels.iter().position(|&word| word != SENTINEL) {
        return Err(format!("{place}: wrote outside its buffers (sentinel {at})"));
    }
    for ((binding, slot), got) in kernel.bindings.iter().zip(&case.slots).zip(&memory.buffers) {
        let (role, wrong) = match slot {
            Slot::Read(values) => (Role::Read, differing(got, values.words())),
            Slot::Written { want: Expected::U32(want), .. } => (Role::Written, differing(got, want)),
            Slot::Written { want: Expected::F64(want), .. } => (Role::Written, far(got, want, &case.bound)),
            Slot::Updated { want, .. } => (Role::Updated, far(got, want, &case.bound)),
        };
        assert_eq!(role, binding.role, "{place}: the slot of {} has another role", binding.name);
        if let Some(wrong) = wrong {
            return Err(format!("{place}: {}{wrong}", binding.name));
        }
    }
    Ok(())
}

fn differing(got: &[u32], want: &[u32]) -> Option<String> {
    let wrong: Vec<usize> = (0..want.len()).filter(|&at| got[at] != want[at]).collect();
    let &at = wrong.first()?;
    Some(format!("[{at}] is {:#x}, want {:#x}; {} of {} differ", got[at], want[at], wrong.len(), want.len()))
}

fn far(got: &[u32], want: &[f64], bound: &Bound) -> Option<String> {
    let got = |at: usize| f64::from(f32::from_bits(got[at]));
    let allowed = |at: usize| bound.abs + bound.rel * want[at].abs();
    // A NaN is near nothing.
    let near = |at: usize| (got(at) - want[at]).abs() <= allowed(at);
    let wrong: Vec<usize> = (0..want.len()).filter(|&at| !near(at)).collect();
    let &at = wrong.first()?;
    Some(format!(
        "[{at}] is {}, want {} within {:e} ({}); {} of {} differ",
        got(at),
        want[at],
        allowed(at),
        bound.why,
        wrong.len(),
        want.len()
    ))
}
