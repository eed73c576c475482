//! Whether a model fits its device: by allocating what it needs, before its weights are fetched.

use js_sys::Reflect;
use wasm_bindgen::JsValue;
use wethink_model::Config;
use wethink_web::fit::{Fit, Need, token_bytes};

use crate::error::Error;
use crate::folder::{Source, plain};

/// What a page may hold on the CPU: WebAssembly's four gigabytes, less what the tensors of one answer take.
const CPU_ROOM: u64 = 3_200_000_000;

/// What the tensors of one answer take at least.
const ANSWER: u64 = 64 << 20;

/// Bytes of one allocation for trial on the CPU; a larger one than any tensor could fail where all tensors fit.
const CHUNK: u64 = 64 << 20;

/// What is to be loaded.
pub struct Planned<'a> {
    /// The model's shape.
    pub config: &'a Config,
    /// Bytes of its weights on the device.
    pub weights: u64,
    /// Of those, bytes to fetch, where they are known.
    pub download: Option<u64>,
}

/// Allocates what a model needs, frees it, and tells what came of it, also as `Preflight` of `wethink.d.ts`.
pub async fn preflight(
    source: &Source,
    planned: &Planned<'_>,
    cpu: bool,
    context: Option<usize>,
) -> Result<(Fit, JsValue), Error> {
    let need = Need::new(planned.config, planned.weights, context)?;
    let allocated = if cpu {
        reserve(need.bytes().min(cpu_room()))
    } else {
        let bytes = source.allocate(need.bytes() as f64).await.map_err(Error::Script)?;
        bytes.as_f64().unwrap_or_default() as u64
    };
    let fit = need.judge(allocated, planned.download);
    let told = plain(&fit)?;
    Ok((fit, told))
}

/// Refuses a chat whose keys and values, of `tokens` tokens, a page cannot hold on the CPU: there, memory that is lacking
/// ends the program.
pub fn cache_fits(config: &Config, tokens: usize) -> Result<(), Error> {
    let need = token_bytes(config).saturating_mul(tokens as u64);
    // Beyond them, what the tensors of one answer take.
    let room = reserve(need.saturating_add(ANSWER).min(CPU_ROOM)).saturating_sub(ANSWER);
    if need <= room { Ok(()) } else { Err(Error::Cache { need: need as f64 / 1e9, room: room as f64 / 1e9 }) }
}

fn cpu_room() -> u64 {
    let navigator = Reflect::get(&js_sys::global(), &"navigator".into()).unwrap_or_default();
    // In gigabytes, coarse, and only some browsers tell. A page gets about half of it.
    let device = Reflect::get(&navigator, &"deviceMemory".into()).ok().and_then(|value| value.as_f64());
    device.map_or(CPU_ROOM, |gigabytes| CPU_ROOM.min((gigabytes * 5e8) as u64))
}

/// Allocates up to `bytes` in this program, frees them, and tells how many there were. The program keeps what it has grown
/// by, which is what the weights then take.
fn reserve(bytes: u64) -> u64 {
    let mut held: Vec<Vec<u8>> = Vec::new();
    let mut done = 0;
    while done < bytes {
        let size = CHUNK.min(bytes - done);
        let mut chunk = Vec::new();
        if chunk.try_reserve_exact(size as usize).is_err() {
            break;
        }
        held.push(chunk);
        done += size;
    }
    done
}
