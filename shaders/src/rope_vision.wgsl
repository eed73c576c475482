// Two-dimensional rotary embedding of the vision tower: turns q and k of a fused qkv, copies v through.
// Pair (d, d + D/2) of a head turns by the angle of column d, whose cosine and sine the caller computed from the
// patch's row and column.
//
// Parallel: one invocation a pair of q, k or v, 256 a workgroup; workgroups are folded into x and y.
// Shapes: qkv and turned [P, 3, H, D] (q, k, v along the second axis), rotary [P, 2, D/2].
// Limits: D even; P*3*H*D below 2^32.

struct Info {
    patches: u32,  // P
    heads: u32,    // H
    head_dim: u32, // D
    pad: u32,      // keeps the count of words even
}

@group(0) @binding(0) var<storage, read_write> qkv: array<f32>;    // [P, 3, H, D], read
@group(0) @binding(1) var<storage, read_write> rotary: array<f32>; // [P, 2, D/2], read: cosines, then sines
@group(0) @binding(2) var<storage, read_write> turned: array<f32>; // [P, 3, H, D], written
@group(0) @binding(3) var<uniform> info: Info;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let half_dim = info.head_dim / 2u;
    let slots = 3u * info.heads; // q heads, k heads, v heads
    let item = (workgroup.y * workgroups.x + workgroup.x) * 256u + local;
    if (item >= info.patches * slots * half_dim) {
        return;
    }
    let d = item % half_dim;
    let slot = (item / half_dim) % slots;
    let patch_index = item / (half_dim * slots);

    let low = (patch_index * slots + slot) * info.head_dim + d;
    let high = low + half_dim;
    let a = qkv[low];
    let b = qkv[high];
    if (slot < 2u * info.heads) {
        let cosine = rotary[patch_index * info.head_dim + d];
        let sine = rotary[patch_index * info.head_dim + half_dim + d];
        turned[low] = a * cosine - b * sine;
        turned[high] = b * cosine + a * sine;
    } else {
        turned[low] = a;
        turned[high] = b;
    }
}
