// The id of the largest logit of each row: a greedy token is then a four-byte readback.
// Ties go to the lowest id. A NaN is never chosen, neither are the two banned ids. A row without any candidate gives
// 0xFFFFFFFF. Both zeros are equal; infinities compare as numbers.
//
// Parallel: one workgroup of 256 a row; its invocations stride over the vocabulary, then a shared tree keeps the
// better of two. Workgroups are folded into x and y.
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

var<workgroup> keys: array<u32, 256>;   // the best key each invocation has seen; 0 is below every number
var<workgroup> chosen: array<u32, 256>; // and its id

// Integers in the order of the floats: 0 for NaN, above 0 for everything else.
fn key_of(bits: u32) -> u32 {
    let magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) {
        return 0u; // NaN
    }
    return select(0x80000000u + magnitude, 0x80000000u - magnitude, (bits >> 31u) == 1u);
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

    var key = 0u;
    var id = NONE;
    for (var i = local; i < info.vocab; i += 256u) {
        let next = key_of(logits[row * info.vocab + i]);
        if (next > key && i != info.banned_a && i != info.banned_b) {
            key = next;
            id = i;
        }
    }
    keys[local] = key;
    chosen[local] = id;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            let other = local + half;
            if (keys[other] > keys[local] || (keys[other] == keys[local] && chosen[other] < chosen[local])) {
                keys[local] = keys[other];
                chosen[local] = chosen[other];
            }
        }
    }
    if (local == 0u) {
        ids[row] = chosen[0];
    }
}
