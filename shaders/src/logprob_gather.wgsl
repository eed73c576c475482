// Log-probability of one chosen id a row: log softmax(logits / temperature)[id], without the softmax in memory.
//
// Parallel: one workgroup of 256 a row; each invocation keeps a running maximum and the sum of exponentials below it
// over a stride of the vocabulary, eight logits at a time so that memory has enough to do, then a shared tree merges the
// pairs. Workgroups are folded into x and y.
// Shapes: logits [N, V], ids [N], logprobs [N].
// Limits: N*V below 2^32. Logits lie within 1e30 of zero. An id outside the vocabulary gives LOWEST and reads nothing.

struct Info {
    rows: u32,                // N
    vocab: u32,               // V
    inverse_temperature: f32, // logits are multiplied by it; 1 for the model's own distribution
    pad: u32,                 // keeps the count of words even
}

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;   // [N, V], read
@group(0) @binding(1) var<storage, read_write> ids: array<u32>;      // [N], read
@group(0) @binding(2) var<storage, read_write> logprobs: array<f32>; // [N], written
@group(0) @binding(3) var<uniform> info: Info;

const LOWEST = -1e30; // stands below every logit, far enough from the end of f32 to be scaled

var<workgroup> maxima: array<f32, 256>; // the largest logit each invocation has seen
var<workgroup> totals: array<f32, 256>; // the sum of exp((logit - maximum) / temperature)

// Four logits of a row, LOWEST behind the last.
fn four(base: u32, i: vec4<u32>) -> vec4<f32> {
    let at = vec4(base) + min(i, vec4(info.vocab - 1u));
    let found = vec4(logits[at.x], logits[at.y], logits[at.z], logits[at.w]);
    return select(vec4(LOWEST), found, i < vec4(info.vocab));
}

fn largest(values: vec4<f32>) -> f32 {
    return max(max(values.x, values.y), max(values.z, values.w));
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = workgroup.y * workgroups.x + workgroup.x;
    if (row >= info.rows) {
        return;
    }
    let base = row * info.vocab;

    var maximum = LOWEST;
    var total = 0.0;
    for (var i = local; i < info.vocab; i += 2048u) {
        let at = vec4(i) + vec4(0u, 256u, 512u, 768u);
        let low = four(base, at);
        let high = four(base, at + vec4(1024u));
        let raised = max(maximum, largest(max(low, high)));
        let weights = exp((low - raised) * info.inverse_temperature)
            + exp((high - raised) * info.inverse_temperature);
        total = total * exp((maximum - raised) * info.inverse_temperature) + dot(weights, vec4(1.0));
        maximum = raised;
    }
    maxima[local] = maximum;
    totals[local] = total;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            let other = local + half;
            let top = max(maxima[local], maxima[other]);
            totals[local] = totals[local] * exp((maxima[local] - top) * info.inverse_temperature)
                + totals[other] * exp((maxima[other] - top) * info.inverse_temperature);
            maxima[local] = top;
        }
    }
    if (local == 0u) {
        let id = ids[row];
        if (id < info.vocab) {
            logprobs[row] = (logits[base + id] - maxima[0]) * info.inverse_temperature - log(totals[0]);
        } else {
            logprobs[row] = LOWEST;
        }
    }
}
