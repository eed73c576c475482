// Product of up to eight rows with a packed matrix, y = norm(x) W^T + bias: the matrix-vector product of decoding. The
// norm is x / sqrt(mean(x^2) + eps) * norm, its factor taken out of the sum; norm and bias are optional; what is there
// may be added to instead of replaced. W's packing is described in packing.rs.
//
// Parallel: one workgroup of 256 for eight rows of W, 32 invocations a row, each with every 32nd unit of 16 bytes. Tiles
// of x lie in workgroup memory, laid out unit by unit; each invocation keeps its share of a sum there too, one for each
// row of x, so that W is read from memory once. Workgroups are folded into x and y.
// Shapes: x [R, K]; norm [K]; words [N', K']; scales [N', S]; bias [N]; y [R, N]. Columns start .. start + out_rows of y
//   belong to rows first .. first + out_rows of words; the other columns are left alone.
// Limits: R <= 8; every buffer below 2^32 elements; |x| below about 1e17 under the norm, whose sum of squares is f32.

struct Info {
    rows: u32,      // R, 1 to 8
    width: u32,     // K, values of a row of W
    out_rows: u32,  // rows of W in use
    first: u32,     // the first of them
    out_width: u32, // N, columns of y
    start: u32,     // the first column of y
    per_word: u32,  // values in a word: 8, 4 or 2
    row_words: u32, // K', words of a row of W
    row_scales: u32, // S, words of a row's scales
    tile: u32,      // columns of x staged at once, a multiple of 32
    normed: u32,    // 1: x is normed first
    eps: f32,       // added to the mean square
    biased: u32,    // 1: bias is added
    added: u32,     // 1: the product is added to y
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>;           // [R, K], read
@group(0) @binding(1) var<storage, read_write> norm: array<f32>;        // [K], read if normed
@group(0) @binding(2) var<storage, read_write> words: array<vec4<u32>>; // [N', K'/4], read
@group(0) @binding(3) var<storage, read_write> scales: array<u32>;      // [N', S], read but for halves
@group(0) @binding(4) var<storage, read_write> bias: array<f32>;        // [N], read if biased
@group(0) @binding(5) var<storage, read_write> y: array<f32>;           // [R, N], written in part
@group(0) @binding(6) var<uniform> info: Info;

const LANES = 32u; // invocations of a row of W
const GROUP = 8u;  // rows of W of a workgroup

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
    let value = x[r * info.width + column];
    if (info.normed == 1u) {
        return value * norm[column];
    }
    return value;
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

// The scale of the block that a unit of a row lies in.
fn scale_of(row: u32, unit: u32) -> f32 {
    if (info.per_word == 2u) {
        return 1.0;
    }
    let block = unit * info.per_word / 8u;
    return unpack2x16float(scales[row * info.row_scales + block / 2u])[block % 2u];
}

// Adds the share of one invocation for one row of W and the staged tile, `units` of which hold columns.
fn add_share(row: u32, first_unit: u32, units: u32, local: u32) {
    let tile_units = info.tile / (4u * info.per_word);
    for (var r = 0u; r < info.rows; r++) {
        var sum = 0.0;
        for (var u = local % LANES; u < units; u += LANES) {
            let unit = words[row * (info.row_words / 4u) + first_unit + u];
            var dots = 0.0;
            for (var v = 0u; v < info.per_word; v++) {
                dots += dot(values(unit, v), staged[r * (info.tile / 4u) + v * tile_units + u]);
            }
            sum += dots * scale_of(row, first_unit + u);
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
    if (info.normed == 1u) {
        find_factors(local);
    }
    for (var r = 0u; r < info.rows; r++) {
        sums[r * 256u + local] = 0.0;
    }

    let row = group * GROUP + local / LANES;
    let row_units = info.row_words / 4u;
    let tile_units = info.tile / (4u * info.per_word);
    for (var first_unit = 0u; first_unit < row_units; first_unit += tile_units) {
        stage(first_unit * 4u * info.per_word, local);
        workgroupBarrier();
        if (row < info.out_rows) {
            add_share(info.first + row, first_unit, min(tile_units, row_units - first_unit), local);
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
    if (lane >= info.rows || row >= info.out_rows) {
        return;
    }
    var value = sums[lane * 256u + local - lane];
    if (info.normed == 1u) {
        value *= factors[lane];
    }
    let column = info.start + row;
    if (info.biased == 1u) {
        value += bias[column];
    }
    let at = lane * info.out_width + column;
    if (info.added == 1u) {
        value += y[at];
    }
    y[at] = value;
}
