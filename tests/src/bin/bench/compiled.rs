//! What the compilers of GPU drivers make of each WGSL kernel: registers, spills, occupancy, instructions, as far as a Vulkan
//! device tells (VK_KHR_pipeline_executable_properties). It needs no GPU: with `RADV_FORCE_FAMILY=GFX1100` (or `NAVI21`,
//! `VEGA10`, …) Mesa's driver for AMD compiles for one that is not there.

use std::ffi::CStr;

use anyhow::{Context, Result, bail};
use ash::vk;
use naga::back::spv;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use serde_json::{Map, Value, json};
use wethink_shaders::{KERNELS, Kernel};

/// Suite `compiled`: a table of kernels for every device that tells.
pub fn compiled() -> Result<Value> {
    // SAFETY: the system's Vulkan loader is loaded as a whole and stays loaded as long as `entry` lives.
    let entry =
        unsafe { ash::Entry::load() }.context("Vulkan's loader (Debian: apt-get install libvulkan1)")?;
    let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_2);
    let info = vk::InstanceCreateInfo::default().application_info(&application);
    // SAFETY: the structures live until the call returns; what is made is destroyed below, children first.
    unsafe {
        let instance = entry.create_instance(&info, None)?;
        let devices = instance.enumerate_physical_devices().map(|all| tables(&instance, &all));
        instance.destroy_instance(None);
        let devices = devices??;
        if devices.is_empty() {
            bail!(
                "no Vulkan device here tells what its compiler makes of a kernel; Mesa's driver for AMD does without a GPU: \
                 install mesa-vulkan-drivers and set RADV_FORCE_FAMILY=GFX1100"
            );
        }
        Ok(devices.into())
    }
}

/// # Safety
/// The devices are the instance's.
unsafe fn tables(instance: &ash::Instance, devices: &[vk::PhysicalDevice]) -> Result<Map<String, Value>> {
    let wanted = ash::khr::pipeline_executable_properties::NAME;
    let mut found = Map::new();
    for &device in devices {
        // SAFETY: the caller's.
        unsafe {
            let extensions = instance.enumerate_device_extension_properties(device)?;
            if !extensions.iter().any(|extension| extension.extension_name_as_c_str() == Ok(wanted)) {
                continue;
            }
            let properties = instance.get_physical_device_properties(device);
            let name = properties.device_name_as_c_str().unwrap_or(c"a device without a name");
            found.insert(name.to_string_lossy().into(), table(instance, device, wanted)?.into());
        }
    }
    Ok(found)
}

/// # Safety
/// The device is the instance's and has the extension `wanted`.
unsafe fn table(
    instance: &ash::Instance,
    physical: vk::PhysicalDevice,
    wanted: &CStr,
) -> Result<Map<String, Value>> {
    let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
    let extensions = [wanted.as_ptr()];
    let mut told =
        vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default().pipeline_executable_info(true);
    let mut memory = vk::PhysicalDeviceVulkan12Features::default().vulkan_memory_model(true);
    let info = vk::DeviceCreateInfo::default()
        .queue_create_infos(&queues)
        .enabled_extension_names(&extensions)
        .push_next(&mut told)
        .push_next(&mut memory);
    // SAFETY: the structures live until the calls return; kernels end before their device does.
    unsafe {
        let device = instance.create_device(physical, &info, None)?;
        let teller = ash::khr::pipeline_executable_properties::Device::new(instance, &device);
        let all = KERNELS.iter().map(|kernel| {
            let told = statistics(&device, &teller, kernel).with_context(|| kernel.name)?;
            Ok((kernel.name.to_owned(), told.into()))
        });
        let all = all.collect();
        device.destroy_device(None);
        all
    }
}

/// # Safety
/// The teller is the device's.
unsafe fn statistics(
    device: &ash::Device,
    teller: &ash::khr::pipeline_executable_properties::Device,
    kernel: &Kernel,
) -> Result<Map<String, Value>> {
    let words = spirv(kernel)?;
    let kind = |at: usize| match at == kernel.bindings.len() {
        true => vk::DescriptorType::UNIFORM_BUFFER,
        false => vk::DescriptorType::STORAGE_BUFFER,
    };
    let binding = |at: usize| {
        vk::DescriptorSetLayoutBinding::default()
            .binding(at as u32)
            .descriptor_type(kind(at))
            .descriptor_count(1)
            .stage_flags(vk::ShaderStageFlags::COMPUTE)
    };
    let bindings: Vec<_> = (0..=kernel.bindings.len()).map(binding).collect();
    // SAFETY: the words are naga's for a validated module; everything made here is destroyed here, also where making the
    // next fails, but for what a failure leaves until the device goes, right after.
    unsafe {
        let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        let set = device.create_descriptor_set_layout(&info, None)?;
        let info = vk::PipelineLayoutCreateInfo::default().set_layouts(std::slice::from_ref(&set));
        let layout = device.create_pipeline_layout(&info, None)?;
        let module =
            device.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(&words), None)?;
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(c"main");
        let info = vk::ComputePipelineCreateInfo::default()
            .stage(stage)
            .layout(layout)
            .flags(vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR);
        let made = device.create_compute_pipelines(vk::PipelineCache::null(), &[info], None);
        let pipeline = made.map_err(|(_, error)| error)?[0];
        let told = teller.get_pipeline_executable_statistics(
            &vk::PipelineExecutableInfoKHR::default().pipeline(pipeline).executable_index(0),
        );
        device.destroy_pipeline(pipeline, None);
        device.destroy_shader_module(module, None);
        device.destroy_pipeline_layout(layout, None);
        device.destroy_descriptor_set_layout(set, None);
        Ok(told?.iter().filter_map(named).collect())
    }
}

/// A figure with its name; hashes are none.
fn named(told: &vk::PipelineExecutableStatisticKHR) -> Option<(String, Value)> {
    let name = told.name_as_c_str().ok()?.to_string_lossy().into_owned();
    if name.to_lowercase().contains("hash") {
        return None;
    }
    // SAFETY: the format says which field is set.
    let value = unsafe {
        match told.format {
            vk::PipelineExecutableStatisticFormatKHR::BOOL32 => json!(told.value.b32 != 0),
            vk::PipelineExecutableStatisticFormatKHR::INT64 => json!(told.value.i64),
            vk::PipelineExecutableStatisticFormatKHR::FLOAT64 => json!(told.value.f64),
            _ => json!(told.value.u64),
        }
    };
    Some((name, value))
}

/// A kernel as the native backend compiles it: unchecked, workgroup memory as it is found.
fn spirv(kernel: &Kernel) -> Result<Vec<u32>> {
    let module = naga::front::wgsl::parse_str(kernel.wgsl)?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module)?;
    let options = spv::Options {
        flags: spv::WriterFlags::empty(),
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        ..Default::default()
    };
    let entry = spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: "main".into() };
    Ok(spv::write_vec(&module, &info, &options, Some(&entry))?)
}
