// First half of a gated MLP for up to eight rows and packed matrices: y = silu(norm(x) G^T) * (norm(x) U^T), with
// silu(g) = g / (1 + exp(-g)) and the norm x / sqrt(mean(x^2) + eps) * norm, its factor taken out of the sum. The
// packing is described in packing.rs; both matrices have the same.
//
// Parallel: one workgroup of 256 for four columns of y, 32 invocations a row of G or of U, each with every 32nd unit of
// 16 bytes. Tiles of x and the invocations' shares of the sums lie in workgroup memory, as in packed_matvec. Workgroups
// are folded into x and y.
// Shapes: x [R, K]; norm [K]; words [N', K'] and scales [N', S] of either matrix; y [R, N]. Columns
//   start .. start + out_rows of y belong to the rows of the matrices; the other columns are left alone.
// Limits: R <= 8; every buffer below 2^32 elements; |x| below about 1e17, where the f32 sum of squares would overflow.

struct Info {
    rows: u32,      // R, 1 to 8
    width: u32,     // K, values of a row of a matrix
    out_rows: u32,  // N', rows of a matrix
    out_width: u32, // N, columns of y
    start: u32,     // the first column of y
    per_word: u32,  // values in a word: 8, 4 or 2
    row_words: u32, // K', words of a row of a matrix
    row_scales: u32, // S, words of a row's scales
    tile: u32,      // columns of x staged at once, a multiple of 32
    eps: f32,       // added to the mean square
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>;                // [R, K], read
@group(0) @binding(1) var<storage, read_write> norm: array<f32>;             // [K], read
@group(0) @binding(2) var<storage, read_write> gate_words: array<vec4<u32>>; // [N', K'/4], read
@group(0) @binding(3) var<storage, read_write> gate_scales: array<u32>;      // [N', S], read but for halves
@group(0) @binding(4) var<storage, read_write> up_words: array<vec4<u32>>;   // [N', K'/4], read
@group(0) @binding(5) var<storage, read_write> up_scales: array<u32>;        // [N', S], read but for halves
@group(0) @binding(6) var<storage, read_write> y: array<f32>;                // [R, N], written in part
@group(0) @binding(7) var<uniform> info: Info;

const LANES = 32u; // invocations of a row of a matrix
const GROUP = 4u;  // columns of y of a workgroup: so many rows of G, then so many of U

var<workgroup> staged: array<vec4<f32>, 448>; // [row of x][vector of a unit][unit] of a tile of x
var<workgroup> sums: array<f32, 2048>;        // [row of x][invocation]
var<workgroup> factors: array<f32, 8>;        // [row of x], 1 / rms

// The factor of the norm for every row of x.
fn find_factors(local: u32) {
    for (var r = 0u; r < info.rows; r++) {
        var sum = 0.0;
        for (var c = local; c < info.width; c += 256u) {
            sum += x[r * info.width + c] * x[r * info.width + c];
        }
        sums[local] = sum;
        for (var half = 128u; half > 0u; half /= 2u) {
            workgroupBarrier();
            if (local < half) {
                sums[local] += sums[local + half];
            }
        }
        workgroupBarrier();
        if (local == 0u) {
            factors[r] = inverseSqrt(sums[0] / f32(info.width) + info.eps);
        }
        workgroupBarrier();
    }
}

fn staged_value(r: u32, column: u32) -> f32 {
    if (column >= info.width) {
        return 0.0;
    }
    return x[r * info.width + column] * norm[column];
}

// Lays out the columns from `column` on of every row of x, zeros behind the last.
fn stage(column: u32, local: u32) {
    let vectors = info.tile / 4u;
    let units = info.tile / (4u * info.per_word);
    for (var at = local; at < info.rows * vectors; at += 256u) {
        let r = at / vectors;
        let c = at % vectors;
        let c0 = column + 4u * c;
        staged[r * vectors + (c % info.per_word) * units + c / info.per_word] = vec4(
            staged_value(r, c0),
            staged_value(r, c0 + 1u),
            staged_value(r, c0 + 2u),
            staged_value(r, c0 + 3u),
        );
    }
}

// Four neighbouring values of a row: vector `v` of the unit's per_word ones.
fn values(unit: vec4<u32>, v: u32) -> vec4<f32> {
    switch info.per_word {
        case 8u: {
            let shift = vec4(0u, 8u, 16u, 24u) + 4u * (v % 2u);
            return vec4<f32>((vec4(unit[v / 2u]) >> shift) & vec4(15u)) - 8.0;
        }
        case 4u: {
            let bytes = vec4(bitcast<i32>(unit[v])) << vec4(24u, 16u, 8u, 0u);
            return vec4<f32>(bytes >> vec4(24u));
        }
        default: {
            return vec4(unpack2x16float(unit[2u * v]), unpack2x16float(unit[2u * v + 1u]));
        }
    }
}

// A unit of a row of U, or of G.
fn unit_of(up: bool, row: u32, unit: u32) -> vec4<u32> {
    let at = row * (info.row_words / 4u) + unit;
    if (up) {
        return up_words[at];
    }
    return gate_words[at];
}

// The scale of the block that a unit of a row lies in.
fn scale_of(up: bool, row: u32, unit: u32) -> f32 {
    if (info.per_word == 2u) {
        return 1.0;
    }
    let block = unit * info.per_word / 8u;
    let at = row * info.row_scales + block / 2u;
    if (up) {
        return unpack2x16float(up_scales[at])[block % 2u];
    }
    return unpack2x16float(gate_scales[at])[block % 2u];
}

// Adds the share of one invocation for one row of a matrix and the staged tile, `units` of which hold columns.
fn add_share(up: bool, row: u32, first_unit: u32, units: u32, local: u32) {
    let tile_units = info.tile / (4u * info.per_word);
    for (var r = 0u; r < info.rows; r++) {
        var sum = 0.0;
        for (var u = local % LANES; u < units; u += LANES) {
            let unit = unit_of(up, row, first_unit + u);
            var dots = 0.0;
            for (var v = 0u; v < info.per_word; v++) {
                dots += dot(values(unit, v), staged[r * (info.tile / 4u) + v * tile_units + u]);
            }
            sum += dots * scale_of(up, row, first_unit + u);
        }
        sums[r * 256u + local] += sum;
    }
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let group = workgroup.y * workgroups.x + workgroup.x;
    if (group * GROUP >= info.out_rows) {
        return;
    }
    find_factors(local);
    for (var r = 0u; r < info.rows; r++) {
        sums[r * 256u + local] = 0.0;
    }

    let up = local >= GROUP * LANES;
    let row = group * GROUP + (local / LANES) % GROUP;
    let row_units = info.row_words / 4u;
    let tile_units = info.tile / (4u * info.per_word);
    for (var first_unit = 0u; first_unit < row_units; first_unit += tile_units) {
        stage(first_unit * 4u * info.per_word, local);
        workgroupBarrier();
        if (row < info.out_rows) {
            add_share(up, row, first_unit, min(tile_units, row_units - first_unit), local);
        }
        workgroupBarrier();
    }

    let lane = local % LANES;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            for (var r = 0u; r < info.rows; r++) {
                sums[r * 256u + local] += sums[r * 256u + local + half];
            }
        }
        workgroupBarrier();
    }
    if (up || lane >= info.rows || row >= info.out_rows) {
        return;
    }
    let at = lane * 256u + local - lane;
    let gate = sums[at] * factors[lane];
    let value = sums[at + GROUP * LANES] * factors[lane];
    y[lane * info.out_width + info.start + row] = gate / (1.0 + exp(-gate)) * value;
}
