// Attention of one new token a row, second half: merges what attention_decode left for each split of the cache,
// attended = sum_s w_s * sums_s / sum_s w_s * total_s with w_s = exp(maximum_s - max over all splits).
//
// Parallel: one workgroup of 256 a chunk of 32 dims of one head of one row: 8 lanes stride over the splits, each with a
// running maximum of its own, then one lane merges the eight. Workgroups are folded into x and y.
// Shapes: sums [N, S, D], stats [N, S, 2], attended [N, D], with N = B * Hq.
// Limits: every buffer below 2^32 elements. A row whose splits hold no key at all gives zeros.

struct Info {
    rows: u32,     // N, rows times query heads
    splits: u32,   // S
    head_dim: u32, // D
    pad: u32,      // keeps the count of words even
}

@group(0) @binding(0) var<storage, read_write> sums: array<f32>;     // [N, S, D], read
@group(0) @binding(1) var<storage, read_write> stats: array<f32>;    // [N, S, 2], read: maximum, total
@group(0) @binding(2) var<storage, read_write> attended: array<f32>; // [N, D], written
@group(0) @binding(3) var<uniform> info: Info;

const DIMS = 32u;     // dims of a workgroup
const LANES = 8u;     // invocations that share a dim
const LOWEST = -1e30; // the maximum of a split without a key

var<workgroup> maxima: array<f32, 256>; // [lane][dim]
var<workgroup> totals: array<f32, 256>; // [lane][dim]
var<workgroup> values: array<f32, 256>; // [lane][dim]

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let chunks = (info.head_dim + DIMS - 1u) / DIMS;
    let group = workgroup.y * workgroups.x + workgroup.x;
    if (group >= info.rows * chunks) {
        return;
    }
    let row = group / chunks;
    let d = (group % chunks) * DIMS + local % DIMS;

    var maximum = LOWEST;
    var total = 0.0;
    var value = 0.0;
    if (d < info.head_dim) {
        for (var split = local / DIMS; split < info.splits; split += LANES) {
            let at = row * info.splits + split;
            let raised = max(maximum, stats[2u * at]);
            let shrink = exp(maximum - raised);
            let weight = exp(stats[2u * at] - raised);
            total = total * shrink + stats[2u * at + 1u] * weight;
            value = value * shrink + sums[at * info.head_dim + d] * weight;
            maximum = raised;
        }
    }
    maxima[local] = maximum;
    totals[local] = total;
    values[local] = value;
    workgroupBarrier();
    if (local >= DIMS || d >= info.head_dim) {
        return;
    }

    for (var other = local + DIMS; other < 256u; other += DIMS) {
        maximum = max(maximum, maxima[other]);
    }
    total = 0.0;
    value = 0.0;
    for (var other = local; other < 256u; other += DIMS) {
        let weight = exp(maxima[other] - maximum);
        total += totals[other] * weight;
        value += values[other] * weight;
    }
    // A total is about 1 or more where there is a key; without one value and total are 0.
    attended[row * info.head_dim + d] = value / max(total, 0.5);
}
