// One token for each row, drawn from softmax(logits / temperature) over the top_k best, cut to the smallest set of best
// tokens whose probability reaches top_p. Ties at the k-th place all stay, ties at the edge of top_p stay by id. The draw,
// uniform in 0 .. 1, comes from the caller; the token is the first, by id, at which the running sum of the kept weights
// exceeds draw times their total. NaN and -infinity are never drawn.
//
// Parallel: one workgroup of 256 a row. Logits become integers in the same order, and the edges of both sets are found by
// settling two bits of such an integer a pass: counting for top_k, adding weights for top_p. A pass takes eight ids at a
// time so that memory has enough to do. Workgroups are folded into x and y.
// Shapes: logits [N, V]; draws and ids [N].
// Limits: N*V below 2^32; temperature above 0. Draws above 0.999999 count as that. A row without a finite best logit
//   gets 0xFFFFFFFF.

struct Info {
    rows: u32,        // N
    vocab: u32,       // V
    banned_a: u32,    // an id never drawn
    banned_b: u32,    // another
    temperature: f32, // divides the logits
    top_k: u32,       // 0: all
    top_p: f32,       // 1 or more: all
    pad: u32,         // keeps the count of words even
}

@group(0) @binding(0) var<storage, read_write> logits: array<f32>; // [N, V], read
@group(0) @binding(1) var<storage, read_write> draws: array<f32>;  // [N], read
@group(0) @binding(2) var<storage, read_write> ids: array<u32>;    // [N], written
@group(0) @binding(3) var<uniform> info: Info;

const NONE = 0xFFFFFFFFu;
const INFINITE = 0xFF800000u; // the key of +infinity

var<workgroup> numbers: array<vec4<u32>, 256>; // shares of counts, or of a maximum in the first
var<workgroup> masses: array<vec4<f32>, 256>;  // shares of sums of weights

// Ascending with the logit; 0 for what is never drawn.
fn key_of(row: u32, id: u32) -> u32 {
    if (id == info.banned_a || id == info.banned_b) {
        return 0u;
    }
    var bits = bitcast<u32>(logits[row * info.vocab + id]);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u || bits == 0xFF800000u) {
        return 0u;
    }
    if (bits == 0x80000000u) {
        bits = 0u; // both zeros are equal
    }
    return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

fn logit_of(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & 0x7FFFFFFFu, key >= 0x80000000u));
}

fn weight_of(key: u32, top: f32) -> f32 {
    return exp((logit_of(key) - top) / info.temperature);
}

// Of four ids at once; 0 behind the last as well.
fn keys_of(row: u32, id: vec4<u32>) -> vec4<u32> {
    let at = vec4(row * info.vocab) + min(id, vec4(info.vocab - 1u));
    let bits = bitcast<vec4<u32>>(vec4(logits[at.x], logits[at.y], logits[at.z], logits[at.w]));
    let keys = select(bits | vec4(0x80000000u), ~bits, bits > vec4(0x80000000u)); // both zeros are equal
    let never = ((bits & vec4(0x7FFFFFFFu)) > vec4(0x7F800000u)) | (bits == vec4(0xFF800000u))
        | (id == vec4(info.banned_a)) | (id == vec4(info.banned_b)) | (id >= vec4(info.vocab));
    return select(keys, vec4(0u), never);
}

fn weights_of(keys: vec4<u32>, top: f32) -> vec4<f32> {
    let logit = bitcast<vec4<f32>>(select(~keys, keys & vec4(0x7FFFFFFFu), keys >= vec4(0x80000000u)));
    return exp((logit - top) / info.temperature);
}

// Four ids of an invocation, from its first on.
fn four_ids(id: u32) -> vec4<u32> {
    return vec4(id) + vec4(0u, 256u, 512u, 768u);
}

fn largest_key(row: u32, local: u32) -> u32 {
    var largest = vec4(0u);
    for (var id = local; id < info.vocab; id += 2048u) {
        let ids = four_ids(id);
        largest = max(largest, max(keys_of(row, ids), keys_of(row, ids + vec4(1024u))));
    }
    workgroupBarrier();
    numbers[local] = largest;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            numbers[local] = max(numbers[local], numbers[local + half]);
        }
    }
    workgroupBarrier();
    return max(max(numbers[0].x, numbers[0].y), max(numbers[0].z, numbers[0].w));
}

// 1 for each of four keys that is at least `least`.
fn ones(keys: vec4<u32>, least: u32) -> u32 {
    return dot(select(vec4(0u), vec4(1u), keys >= vec4(least)), vec4(1u));
}

// How many keys are at least each of three.
fn counts(row: u32, least: vec3<u32>, local: u32) -> vec3<u32> {
    var found = vec3(0u);
    for (var id = local; id < info.vocab; id += 2048u) {
        let ids = four_ids(id);
        let low = keys_of(row, ids);
        let high = keys_of(row, ids + vec4(1024u));
        found += vec3(ones(low, least.x), ones(low, least.y), ones(low, least.z))
            + vec3(ones(high, least.x), ones(high, least.y), ones(high, least.z));
    }
    workgroupBarrier();
    numbers[local] = vec4(found, 0u);
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            numbers[local] += numbers[local + half];
        }
    }
    workgroupBarrier();
    return numbers[0].xyz;
}

// The weights of those of four keys that are at least `least`.
fn added(keys: vec4<u32>, weights: vec4<f32>, least: u32) -> f32 {
    return dot(select(vec4(0.0), weights, keys >= vec4(least)), vec4(1.0));
}

// The weight of all keys that are at least each of three.
fn mass(row: u32, least: vec3<u32>, top: f32, local: u32) -> vec3<f32> {
    var sum = vec3(0.0);
    for (var id = local; id < info.vocab; id += 2048u) {
        let ids = four_ids(id);
        let low = keys_of(row, ids);
        let high = keys_of(row, ids + vec4(1024u));
        let low_weights = weights_of(low, top);
        let high_weights = weights_of(high, top);
        sum += vec3(
            added(low, low_weights, least.x) + added(high, high_weights, least.x),
            added(low, low_weights, least.y) + added(high, high_weights, least.y),
            added(low, low_weights, least.z) + added(high, high_weights, least.z),
        );
    }
    workgroupBarrier();
    masses[local] = vec4(sum, 0.0);
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            masses[local] += masses[local + half];
        }
    }
    workgroupBarrier();
    return masses[0].xyz;
}

// Two bits of an edge: the largest of 1, 2 and 3 at which enough was found, 0 for none.
fn settled(enough: vec3<bool>) -> u32 {
    return select(select(select(0u, 1u, enough.x), 2u, enough.y), 3u, enough.z);
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
    let top_key = largest_key(row, local);
    let top = logit_of(top_key);
    var least = select(1u, NONE, top_key == INFINITE); // without a finite best nothing is kept
    if (info.top_k > 0u) {
        var edge = 0u;
        for (var shift = 32u; shift > 0u; shift -= 2u) {
            let found = counts(row, vec3(edge) | (vec3(1u, 2u, 3u) << vec3(shift - 2u)), local);
            edge |= settled(found >= vec3(info.top_k)) << (shift - 2u);
        }
        least = max(least, edge);
    }
    var kept_ties = NONE; // of the keys equal to `least`, so many stay
    if (info.top_p < 1.0) {
        let wanted = info.top_p * mass(row, vec3(least), top, local).x;
        var edge = 0u;
        for (var shift = 32u; shift > 0u; shift -= 2u) {
            let tried = vec3(edge) | (vec3(1u, 2u, 3u) << vec3(shift - 2u));
            edge |= settled(mass(row, max(tried, vec3(least)), top, local) >= vec3(wanted)) << (shift - 2u);
        }
        edge = min(max(edge, least), max(top_key, least));
        let above = mass(row, vec3(edge + 1u), top, local).x;
        kept_ties = u32(clamp(ceil((wanted - above) / weight_of(edge, top)), 1.0, 1e9));
        least = edge;
    }

    // By id now: each invocation has a range of ids.
    let span = (info.vocab + 255u) / 256u;
    let first = min(local * span, info.vocab);
    let end = min(first + span, info.vocab);
    var ties = 0u;
    for (var id = first; id < end; id++) {
        ties += select(0u, 1u, key_of(row, id) == least);
    }
    workgroupBarrier();
    numbers[local].x = ties;
    workgroupBarrier();
    var ties_before = 0u;
    for (var other = 0u; other < local; other++) {
        ties_before += numbers[other].x;
    }
    var own = 0.0;
    var tie = ties_before;
    for (var id = first; id < end; id++) {
        let key = key_of(row, id);
        if (key > least || (key == least && tie < kept_ties)) {
            own += weight_of(key, top);
        }
        tie += select(0u, 1u, key == least);
    }
    masses[local].x = own;
    workgroupBarrier();
    var before = 0.0;
    var total = 0.0;
    for (var other = 0u; other < 256u; other++) {
        if (other == local) {
            before = total;
        }
        total += masses[other].x;
    }
    if (local == 0u && !(total > 0.0)) {
        ids[row] = NONE;
    }
    let reach = min(draws[row], 0.999999) * total;
    if (!(before <= reach && reach < before + own)) {
        return;
    }
    var left = reach - before;
    var chosen = NONE;
    tie = ties_before;
    for (var id = first; id < end && left >= 0.0; id++) {
        let key = key_of(row, id);
        if (key > least || (key == least && tie < kept_ties)) {
            left -= weight_of(key, top);
            chosen = id;
        }
        tie += select(0u, 1u, key == least);
    }
    ids[row] = chosen;
}
