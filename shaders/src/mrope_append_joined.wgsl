// mrope_append for queries, keys and values that one product left side by side: turns the queries, turns the keys into
// the key cache, copies the values into the value cache. Pair (d, d + D/2) of a head turns by the angle of column d.
//
// Parallel: one invocation a pair of q, k or v, 256 a workgroup; workgroups are folded into x and y.
// Shapes: qkv [B, T, Hq + 2 Hkv, D]; turned [B, T, Hq, D]; rotary [B, T, 2, D/2]; spans [B, 2];
//   both caches [B, Hkv, Tmax, D]. Token i of row b goes to cache position start[b] + i.
// Limits: D even; every buffer below 2^32 elements. Tokens i >= count[b] are padding: their q is turned, their k and v
//   are not appended. A position beyond the cache is never written; the caller asserts start + count <= Tmax.

struct Info {
    batch: u32,     // B
    tokens: u32,    // T, new tokens a row with padding
    heads: u32,     // Hq
    kv_heads: u32,  // Hkv
    head_dim: u32,  // D
    cache_len: u32, // Tmax, positions a row of the cache holds
}

@group(0) @binding(0) var<storage, read_write> qkv: array<f32>;     // [B, T, Hq + 2 Hkv, D], read: queries, keys, values
@group(0) @binding(1) var<storage, read_write> rotary: array<f32>;  // [B, T, 2, D/2], read: cosines, then sines
@group(0) @binding(2) var<storage, read_write> spans: array<u32>;   // [B, 2], read: start and count of each row
@group(0) @binding(3) var<storage, read_write> turned: array<f32>;  // [B, T, Hq, D], written
@group(0) @binding(4) var<storage, read_write> k_cache: array<f32>; // [B, Hkv, Tmax, D], written at the new positions
@group(0) @binding(5) var<storage, read_write> v_cache: array<f32>; // [B, Hkv, Tmax, D], written at the new positions
@group(0) @binding(6) var<uniform> info: Info;

// The pair (a, b) turned by the angle of column d of a token.
fn turn(token: u32, d: u32, a: f32, b: f32) -> vec2<f32> {
    let cosine = rotary[token * info.head_dim + d];
    let sine = rotary[token * info.head_dim + info.head_dim / 2u + d];
    return vec2(a * cosine - b * sine, b * cosine + a * sine);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let half_dim = info.head_dim / 2u;
    let slots = info.heads + 2u * info.kv_heads; // q heads, k heads, v heads
    let item = (workgroup.y * workgroups.x + workgroup.x) * 256u + local;
    if (item >= info.batch * info.tokens * slots * half_dim) {
        return;
    }
    let d = item % half_dim;
    let slot = (item / half_dim) % slots;
    let token = item / (half_dim * slots); // row and token as one index: row * T + i

    let source = item / half_dim * info.head_dim + d;
    if (slot < info.heads) {
        let at = (token * info.heads + slot) * info.head_dim + d;
        let pair = turn(token, d, qkv[source], qkv[source + half_dim]);
        turned[at] = pair.x;
        turned[at + half_dim] = pair.y;
        return;
    }

    let row = token / info.tokens;
    let i = token % info.tokens;
    let position = spans[2u * row] + i;
    if (i >= spans[2u * row + 1u] || position >= info.cache_len) {
        return;
    }
    let head = (slot - info.heads) % info.kv_heads;
    let target_at = ((row * info.kv_heads + head) * info.cache_len + position) * info.head_dim + d;
    if (slot < info.heads + info.kv_heads) {
        let pair = turn(token, d, qkv[source], qkv[source + half_dim]);
        k_cache[target_at] = pair.x;
        k_cache[target_at + half_dim] = pair.y;
    } else {
        v_cache[target_at] = qkv[source];
        v_cache[target_at + half_dim] = qkv[source + half_dim];
    }
}
