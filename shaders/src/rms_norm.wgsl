// Root-mean-square norm of each row: normed = x / sqrt(mean(x^2) + eps) * weight.
//
// Parallel: one workgroup of 256 a row; its invocations stride over the row's elements and sum their squares in a
// shared tree. Workgroups are folded into x and y.
// Shapes: x and normed [N, C], weight [C].
// Limits: N*C below 2^32; |x| below about 1e17, where the f32 sum of squares would overflow.

struct Info {
    rows: u32,  // N
    width: u32, // C, elements of a row
    eps: f32,   // added to the mean square
    pad: u32,   // keeps the count of words even
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>;      // [N, C], read
@group(0) @binding(1) var<storage, read_write> weight: array<f32>; // [C], read
@group(0) @binding(2) var<storage, read_write> normed: array<f32>; // [N, C], written
@group(0) @binding(3) var<uniform> info: Info;

var<workgroup> squares: array<f32, 256>; // partial sums of squares, then the tree

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
    let base = row * info.width;

    var sum = 0.0;
    for (var c = local; c < info.width; c += 256u) {
        sum += x[base + c] * x[base + c];
    }
    squares[local] = sum;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            squares[local] += squares[local + half];
        }
    }
    workgroupBarrier();

    let scale = inverseSqrt(squares[0] / f32(info.width) + info.eps);
    for (var c = local; c < info.width; c += 256u) {
        normed[base + c] = x[base + c] * scale * weight[c];
    }
}
