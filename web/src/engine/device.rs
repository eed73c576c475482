//! The one place of the toolkit that names devices.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use burn::tensor::Device;
use js_sys::{Function, Promise, Reflect};
use send_wrapper::SendWrapper;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use crate::error::Error;
use crate::self_test;

/// A device on which the self-test has passed.
pub struct Opened {
    /// The device.
    pub device: Device,
    /// `webgpu` or `cpu`.
    pub kind: &'static str,
    /// What it is, for people.
    pub name: String,
    /// Why it is not the device one would expect.
    pub note: Option<String>,
}

/// Called with the code and the text of an error that belongs to no call: a device that is lost, a shader that does not
/// compile, memory that ran out.
pub type OnFault = Arc<SendWrapper<Function>>;

/// Opens a device: `webgpu`, `cpu`, or `auto`, which is WebGPU where it works.
pub async fn open(choice: &str, on_fault: &OnFault) -> Result<Opened, Error> {
    match choice {
        "cpu" => Ok(cpu(None)),
        "webgpu" => webgpu(on_fault).await.map_err(Error::Device),
        "auto" => Ok(match webgpu(on_fault).await {
            Ok(opened) => opened,
            Err(problem) => cpu(Some(problem)),
        }),
        other => Err(Error::Device(format!("device `{other}` is none of auto, webgpu, cpu"))),
    }
}

fn cpu(note: Option<String>) -> Opened {
    Opened { device: Device::flex(), kind: "cpu", name: "CPU, WebAssembly SIMD".into(), note }
}

async fn webgpu(on_fault: &OnFault) -> Result<Opened, String> {
    let navigator = Reflect::get(&js_sys::global(), &"navigator".into()).unwrap_or_default();
    let gpu = Reflect::get(&navigator, &"gpu".into()).unwrap_or_default();
    if gpu.is_falsy() {
        return Err("this browser has no WebGPU, or the page is not served over https".into());
    }
    let adapter = adapter(&gpu).await.ok_or("WebGPU finds no GPU that it can use")?;
    let opened = Device::wgpu_options().init_with_setup_async().await;
    let (device, setup) = opened.map_err(|error| format!("WebGPU does not start: {error}"))?;
    let faults = Faults::default();
    faults.watch(&setup.device, on_fault);
    // The worker opens one device in its life, so that this succeeds.
    let _ = LOGGED.set((faults.clone(), on_fault.clone()));
    if log::set_logger(&Log).is_ok() {
        log::set_max_level(log::LevelFilter::Error);
    }
    let tested = self_test::run(&device).await;
    // What the device reported is nearer to the cause than the numbers that came of it.
    if let Some(fault) = faults.first() {
        return Err(format!("WebGPU fails its self-test: {fault}"));
    }
    tested.map_err(|problem| format!("WebGPU fails its self-test: {problem}"))?;
    faults.report();
    let name = name(&adapter).unwrap_or_else(|| "a GPU that gives no name".into());
    Ok(Opened { device, kind: "webgpu", name: format!("WebGPU ({name})"), note: None })
}

/// The browser's own answer to whether there is an adapter; burn's is for developers.
async fn adapter(gpu: &JsValue) -> Option<JsValue> {
    let request: Function = Reflect::get(gpu, &"requestAdapter".into()).ok()?.dyn_into().ok()?;
    let adapter = JsFuture::from(Promise::resolve(&request.call0(gpu).ok()?)).await.ok()?;
    (!adapter.is_falsy()).then_some(adapter)
}

/// What the browser tells of a GPU: its description, else vendor and architecture.
fn name(adapter: &JsValue) -> Option<String> {
    let info = Reflect::get(adapter, &"info".into()).ok()?;
    let field =
        |name: &str| Reflect::get(&info, &name.into()).ok()?.as_string().filter(|text| !text.is_empty());
    let general = || {
        let words: Vec<_> = ["vendor", "architecture"].into_iter().filter_map(field).collect();
        (!words.is_empty()).then(|| words.join(" "))
    };
    field("description").or_else(general)
}

/// Errors that the device reports outside any call. During the self-test they decide where the model runs; afterwards
/// they go to the page.
#[derive(Clone, Default)]
struct Faults(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    reporting: bool,
    first: Option<String>,
}

impl Faults {
    fn watch(&self, device: &burn::tensor::wgpu::wgpu::Device, on_fault: &OnFault) {
        let (faults, notify) = (self.clone(), on_fault.clone());
        device.on_uncaptured_error(Arc::new(move |error: burn::tensor::wgpu::wgpu::Error| {
            let memory = matches!(error, burn::tensor::wgpu::wgpu::Error::OutOfMemory { .. });
            let fix = "; close other pages, ask for fewer tokens, or use a smaller checkpoint";
            let (code, fix) = if memory { ("memory", fix) } else { ("device", "") };
            faults.fault(&notify, code, format!("the GPU reports: {error}{fix}"));
        }));
        let (faults, notify) = (self.clone(), on_fault.clone());
        device.set_device_lost_callback(move |_, message| {
            let message = if message.is_empty() { "no reason given".into() } else { message };
            faults.fault(
                &notify,
                "device-lost",
                format!("the GPU was lost ({message}); load the model again"),
            );
        });
    }

    fn fault(&self, notify: &OnFault, code: &str, message: String) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.reporting {
            // A script that throws here has nobody to tell.
            let _ = notify.call2(&JsValue::NULL, &code.into(), &message.as_str().into());
        }
        state.first.get_or_insert(message);
    }

    fn first(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).first.clone()
    }

    fn report(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).reporting = true;
    }
}

/// Where [`Log`] takes what it is told.
static LOGGED: OnceLock<(Faults, OnFault)> = OnceLock::new();

/// A shader that a browser refuses reaches nobody but the log of the library that compiles it.
struct Log;

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        metadata.level() == log::Level::Error && metadata.target().starts_with("cubecl_wgpu::backend")
    }

    fn log(&self, record: &log::Record) {
        let Some((faults, notify)) = LOGGED.get().filter(|_| self.enabled(record.metadata())) else { return };
        let text = record.args().to_string();
        // The compiler's message; the shader's whole text follows it.
        let cause = text.split("--- shader source").next().unwrap_or_default().trim();
        faults.fault(notify, "device", format!("the GPU's compiler: {cause}"));
    }

    fn flush(&self) {}
}
