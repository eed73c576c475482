// Attention of one new token a row over a key-value cache, first half: each workgroup attends to 64 positions and
// leaves an unnormalised sum of values with its softmax maximum and total; attention_combine merges them. Row b
// sees positions 0 .. start[b] + count[b] with count 0 or 1; a row with count 0 (a finished one) sees none.
//
// Parallel: one workgroup of 256 a split of 64 positions of one cache head of one row. It serves up to eight query
// heads of that cache head at once, so that keys and values are read once for all of them: scores with four
// invocations a key, then values with one invocation a dim and half of the keys. Workgroups are folded into x and y.
// Shapes: q [B, Hq, D]; caches [B, Hkv, Tmax, D]; spans [B, 2]; sums [B, Hq, S, D]; stats [B, Hq, S, 2].
// Limits: D even and <= 128; Hkv divides Hq, and a group of more than eight query heads reads the cache once for each
//   eight; every buffer below 2^32 elements; |scaled score| below 1e30. Splits without a key leave zeros.

struct Info {
    batch: u32,     // B
    heads: u32,     // Hq
    kv_heads: u32,  // Hkv
    head_dim: u32,  // D
    cache_len: u32, // Tmax, positions a row of the cache holds
    splits: u32,    // S, splits of 64 positions: the longest row's start + count over 64, rounded up
    scale: f32,     // multiplies the scores, 1 / sqrt(D)
    pad: u32,       // keeps the count of words even
}

@group(0) @binding(0) var<storage, read_write> q: array<f32>;             // [B, Hq, D], read
@group(0) @binding(1) var<storage, read_write> k_cache: array<vec2<f32>>; // [B, Hkv, Tmax, D/2], read in pairs
@group(0) @binding(2) var<storage, read_write> v_cache: array<f32>;       // [B, Hkv, Tmax, D], read
@group(0) @binding(3) var<storage, read_write> spans: array<u32>;         // [B, 2], read: start and count of each row
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;          // [B, Hq, S, D], written: weighted values
@group(0) @binding(5) var<storage, read_write> stats: array<f32>;         // [B, Hq, S, 2], written: maximum, total
@group(0) @binding(6) var<uniform> info: Info;

const KEYS = 64u;     // positions of a split
const LANES = 4u;     // invocations that share a key
const PASS = 8u;      // query heads served at once, as two vectors of four
const DIMS = 128u;    // the largest head dim
const LOWEST = -1e30; // the score of a key that is not seen

var<workgroup> queries: array<vec4<f32>, 256>; // [dim][2] of 4 heads, 0 where there is no such head
var<workgroup> parts: array<vec4<f32>, 512>;   // [key][lane][2] of 4 heads, shares of a score; then see add_values
var<workgroup> scores: array<vec4<f32>, 128>;  // [key][2] of 4 heads: scores, then weights

// What a workgroup works on.
struct Split {
    head: u32,   // the first query head it serves, counted over all rows
    served: u32, // how many
    cache: u32,  // where the row's cache head begins
    first: u32,  // its first position
    keys: u32,   // its positions that hold a key
    index: u32,  // of the S
}

fn split_of(group: u32) -> Split {
    let group_heads = info.heads / info.kv_heads;
    let passes = (group_heads + PASS - 1u) / PASS;
    let index = group % info.splits;
    let pass_index = (group / info.splits) % passes;
    let cache_head = group / (info.splits * passes); // counted over all rows
    let row = cache_head / info.kv_heads;

    let count = min(spans[2u * row + 1u], 1u);
    let filled = min(spans[2u * row] + count, info.cache_len) * count; // a finished row sees nothing
    let first = index * KEYS;
    return Split(
        cache_head * group_heads + pass_index * PASS,
        min(PASS, group_heads - pass_index * PASS),
        cache_head * info.cache_len * info.head_dim,
        first,
        clamp(filled, first, first + KEYS) - first,
        index,
    );
}

// Lays out the queries of the served heads dim by dim.
fn stage_queries(split: Split, local: u32) {
    if (local < 2u * info.head_dim) {
        var four = vec4(0.0);
        for (var n = 0u; n < 4u; n++) {
            let h = 4u * (local % 2u) + n;
            if (h < split.served) {
                four[n] = q[(split.head + h) * info.head_dim + local / 2u];
            }
        }
        queries[local] = four;
    }
}

// Four invocations share a key, each with every fourth pair of dims; every one leaves its share of eight scores.
fn share_scores(split: Split, local: u32) {
    var low = vec4(0.0);
    var high = vec4(0.0);
    let key = local / LANES;
    if (key < split.keys) {
        let base = (split.cache + (split.first + key) * info.head_dim) / 2u;
        for (var pair = local % LANES; pair < info.head_dim / 2u; pair += LANES) {
            let two = k_cache[base + pair];
            low += two.x * queries[4u * pair] + two.y * queries[4u * pair + 2u];
            high += two.x * queries[4u * pair + 1u] + two.y * queries[4u * pair + 3u];
        }
    }
    parts[2u * local] = low;
    parts[2u * local + 1u] = high;
}

// Invocation 2 * key + half adds the four shares of four heads.
fn add_shares(split: Split, local: u32) {
    if (local < 2u * KEYS) {
        let at = 2u * LANES * (local / 2u) + local % 2u;
        let score = (parts[at] + parts[at + 2u] + parts[at + 4u] + parts[at + 6u]) * info.scale;
        scores[local] = select(vec4(LOWEST), score, local / 2u < split.keys);
    }
}

// The largest score of each of four heads: the first four for an even invocation, the others for an odd one.
fn largest_score(local: u32) -> vec4<f32> {
    var largest = vec4(LOWEST);
    for (var key = 0u; key < KEYS; key++) {
        largest = max(largest, scores[2u * key + local % 2u]);
    }
    return largest;
}

// One dim of the values and the weights themselves, summed over a half of the keys: [2] of 4 heads, values first.
fn add_values(split: Split, local: u32) -> array<vec4<f32>, 4> {
    var sum = array<vec4<f32>, 4>(vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
    let d = local % DIMS;
    let from_key = (local / DIMS) * (KEYS / 2u);
    if (d < info.head_dim) {
        for (var key = from_key; key < min(from_key + KEYS / 2u, split.keys); key++) {
            let value = v_cache[split.cache + (split.first + key) * info.head_dim + d];
            sum[0] += scores[2u * key] * value;
            sum[1] += scores[2u * key + 1u] * value;
            sum[2] += scores[2u * key];
            sum[3] += scores[2u * key + 1u];
        }
    }
    return sum;
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let passes = (info.heads / info.kv_heads + PASS - 1u) / PASS;
    let group = workgroup.y * workgroups.x + workgroup.x;
    if (group >= info.batch * info.kv_heads * passes * info.splits) {
        return;
    }
    let split = split_of(group);

    stage_queries(split, local);
    workgroupBarrier();
    share_scores(split, local);
    workgroupBarrier();
    add_shares(split, local);
    workgroupBarrier();
    let maximum = largest_score(local);
    workgroupBarrier();
    if (local < 2u * KEYS) {
        scores[local] = select(vec4(0.0), exp(scores[local] - maximum), local / 2u < split.keys);
    }
    workgroupBarrier();

    // The second half of the keys, in the upper invocations, joins the first through `parts`, [dim][4] of 4 heads.
    var sum = add_values(split, local);
    let d = local % DIMS;
    if (local >= DIMS) {
        for (var n = 0u; n < 4u; n++) {
            parts[4u * d + n] = sum[n];
        }
    }
    workgroupBarrier();
    if (local >= info.head_dim) {
        return;
    }
    for (var n = 0u; n < 4u; n++) {
        sum[n] += parts[4u * d + n];
    }
    for (var h = 0u; h < split.served; h++) {
        let at = (split.head + h) * info.splits + split.index;
        sums[at * info.head_dim + d] = sum[h / 4u][h % 4u];
        // Invocations 0 and 1 hold the maxima of the first and the second four heads.
        if (d == h / 4u) {
            stats[2u * at] = maximum[h % 4u];
            stats[2u * at + 1u] = sum[2u + h / 4u][h % 4u];
        }
    }
}
