// One token for each row, drawn from softmax(logits / temperature) over the top_k best, cut to the smallest set of best
// tokens whose probability reaches top_p. Ties at the k-th place all stay, ties at the edge of top_p stay by id. The draw,
// uniform in 0 .. 1, comes from the caller; the token is the first, by id, at which the running sum of the kept weights
// exceeds draw times their total. NaN and -infinity are never drawn.
//
// Parallel: one workgroup of 256 a row. Logits become integers in the same order, and the edges of both sets are found by
// settling one bit of such an integer a pass: counting for top_k, adding weights for top_p. Workgroups are folded into x
// and y.
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

var<workgroup> numbers: array<u32, 256>; // shares of a count or a maximum
var<workgroup> masses: array<f32, 256>;  // shares of a sum of weights

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

fn largest_key(row: u32, local: u32) -> u32 {
    var largest = 0u;
    for (var id = local; id < info.vocab; id += 256u) {
        largest = max(largest, key_of(row, id));
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
    return numbers[0];
}

// How many keys are at least `least`.
fn count(row: u32, least: u32, local: u32) -> u32 {
    var found = 0u;
    for (var id = local; id < info.vocab; id += 256u) {
        found += select(0u, 1u, key_of(row, id) >= least);
    }
    workgroupBarrier();
    numbers[local] = found;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            numbers[local] += numbers[local + half];
        }
    }
    workgroupBarrier();
    return numbers[0];
}

// The weight of all keys that are at least `least`.
fn mass(row: u32, least: u32, top: f32, local: u32) -> f32 {
    var sum = 0.0;
    for (var id = local; id < info.vocab; id += 256u) {
        let key = key_of(row, id);
        if (key >= least) {
            sum += weight_of(key, top);
        }
    }
    workgroupBarrier();
    masses[local] = sum;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            masses[local] += masses[local + half];
        }
    }
    workgroupBarrier();
    return masses[0];
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
        for (var bit = 0u; bit < 32u; bit++) {
            let tried = edge | (0x80000000u >> bit);
            edge = select(edge, tried, count(row, tried, local) >= info.top_k);
        }
        least = max(least, edge);
    }
    var kept_ties = NONE; // of the keys equal to `least`, so many stay
    if (info.top_p < 1.0) {
        let wanted = info.top_p * mass(row, least, top, local);
        var edge = 0u;
        for (var bit = 0u; bit < 32u; bit++) {
            let tried = edge | (0x80000000u >> bit);
            edge = select(edge, tried, mass(row, max(tried, least), top, local) >= wanted);
        }
        edge = min(max(edge, least), max(top_key, least));
        let above = mass(row, edge + 1u, top, local);
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
    numbers[local] = ties;
    workgroupBarrier();
    var ties_before = 0u;
    for (var other = 0u; other < local; other++) {
        ties_before += numbers[other];
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
    masses[local] = own;
    workgroupBarrier();
    var before = 0.0;
    var total = 0.0;
    for (var other = 0u; other < 256u; other++) {
        if (other == local) {
            before = total;
        }
        total += masses[other];
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
