// SiLU product: product = gate * sigmoid(gate) * up, elementwise: the middle of every gated MLP.
//
// Parallel: one invocation an element, 256 a workgroup; workgroups are folded into x and y.
// Shapes: gate, up and product are alike, of any shape; `elements` is their length.
// Limits: below 2^32 elements. Finite gates only; exp() never sees a positive argument, so no gate overflows it.

struct Info {
    elements: u32, // length of each buffer
    pad: u32,      // keeps the count of words even
}

@group(0) @binding(0) var<storage, read_write> gate: array<f32>;    // [elements], read
@group(0) @binding(1) var<storage, read_write> up: array<f32>;      // [elements], read
@group(0) @binding(2) var<storage, read_write> product: array<f32>; // [elements], written
@group(0) @binding(3) var<uniform> info: Info;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (workgroup.y * workgroups.x + workgroup.x) * 256u + local;
    if (i >= info.elements) {
        return;
    }
    let g = gate[i];
    let e = exp(-abs(g));
    let sigmoid = select(e, 1.0, g >= 0.0) / (1.0 + e);
    product[i] = g * sigmoid * up[i];
}
