// The id of the largest logit of each row: a greedy token is then a four-byte readback.
// Ties go to the lowest id. A NaN is never chosen, neither are the two banned ids. A row without any candidate gives
// 0xFFFFFFFF. Both zeros are equal; infinities compare as numbers.
//
// Parallel: one workgroup of 256 a row; its invocations stride over the vocabulary, eight ids at a time so that memory has
// enough to do, then a shared tree keeps the better of two. Workgroups are folded into x and y.
// Shapes: logits [N, V], ids [N].
// Limits: N*V below 2^32, V below 2^32 - 1. Logits are compared as integers of the same order, because WGSL lets a
//   compiler assume that floats are never NaN or infinite.

struct Info {
    rows: u32,     // N
    vocab: u32,    // V
    banned_a: u32, // an id that is never chosen; 0xFFFFFFFF for none
    banned_b: u32, // another
}

@group(0) @binding(0) var<storage, read_write> logits: array<u32>; // [N, V], read: the bits of f32
@group(0) @binding(1) var<storage, read_write> ids: array<u32>;    // [N], written
@group(0) @binding(2) var<uniform> info: Info;

const NONE = 0xFFFFFFFFu;

var<workgroup> bests: array<vec2<u32>, 256>; // the best key each invocation has seen, 0 for none, and its id

// Integers in the order of the floats of four ids: 0 for NaN, for banned ids and behind the last, above 0 for everything
// else.
fn keys_of(row: u32, id: vec4<u32>) -> vec4<u32> {
    let at = vec4(row * info.vocab) + min(id, vec4(info.vocab - 1u));
    let bits = vec4(logits[at.x], logits[at.y], logits[at.z], logits[at.w]);
    let magnitude = bits & vec4(0x7FFFFFFFu);
    let keys = select(vec4(0x80000000u) + magnitude, vec4(0x80000000u) - magnitude, bits >= vec4(0x80000000u));
    let never = (magnitude > vec4(0x7F800000u)) | (id == vec4(info.banned_a)) | (id == vec4(info.banned_b))
        | (id >= vec4(info.vocab));
    return select(keys, vec4(0u), never);
}

// The better of two keys with their ids, the first of equals.
fn better(one: vec2<u32>, other: vec2<u32>) -> vec2<u32> {
    return select(one, other, other.x > one.x || (other.x == one.x && other.y < one.y));
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

    var best = vec2(0u, NONE);
    for (var first = local; first < info.vocab; first += 2048u) {
        let low = vec4(first) + vec4(0u, 256u, 512u, 768u);
        let high = low + vec4(1024u);
        let low_keys = keys_of(row, low);
        let high_keys = keys_of(row, high);
        for (var n = 0u; n < 4u; n++) {
            best = better(best, vec2(low_keys[n], low[n]));
            best = better(best, vec2(high_keys[n], high[n]));
        }
    }
    bests[local] = best;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            bests[local] = better(bests[local], bests[local + half]);
        }
    }
    if (local == 0u) {
        ids[row] = select(bests[0].y, NONE, bests[0].x == 0u);
    }
}
