//! What a kernel is run on, and what must come out: a case holds every buffer of one launch, the twin's answer for the
//! ones that are written, and how far from it the kernel may be.

use bytemuck::Pod;

/// The contents of a data buffer.
#[derive(Clone, Debug)]
pub enum Values {
    /// Floats as the kernel stores them.
    F32(Vec<f32>),
    /// Ids, spans, bounds, or the bits of floats.
    U32(Vec<u32>),
}

impl Values {
    /// The contents as 32-bit words.
    pub fn words(&self) -> &[u32] {
        match self {
            Self::F32(values) => bytemuck::cast_slice(values),
            Self::U32(values) => values,
        }
    }
}

/// What a twin says of a buffer.
#[derive(Clone, Debug)]
pub enum Expected {
    /// Floats, compared under the case's [`Bound`].
    F64(Vec<f64>),
    /// Integers, compared exactly.
    U32(Vec<u32>),
}

impl Expected {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F64(values) => values.len(),
            Self::U32(values) => values.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One data buffer of a case.
#[derive(Clone, Debug)]
pub enum Slot {
    /// A buffer that the kernel reads, and must leave as it is.
    Read(Values),
    /// A buffer that the kernel writes throughout.
    Written {
        /// What must be there afterwards.
        want: Expected,
        /// The first element that the second workgroup writes; none where there is no second workgroup.
        second_group: Option<usize>,
    },
    /// A buffer that the kernel writes in part.
    Updated {
        /// What is there beforehand.
        before: Vec<f32>,
        /// What must be there afterwards, unwritten elements included.
        want: Vec<f64>,
        /// The first element that the second workgroup writes; none where it writes none.
        second_group: Option<usize>,
    },
}

/// How far a float may be from the twin's: `|got - want| <= abs + rel * |want|`.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Allowed whatever the value.
    pub abs: f64,
    /// Allowed for each unit of the value.
    pub rel: f64,
    /// Where the two numbers come from.
    pub why: &'static str,
}

impl Bound {
    /// For kernels whose outputs are integers or copies.
    pub const EXACT: Bound = Bound { abs: 0.0, rel: 0.0, why: "integers and copies are exact" };
}

/// One launch of a kernel.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is particular about it, for messages.
    pub name: String,
    /// The uniform block.
    pub words: Vec<u32>,
    /// Workgroups along x, y and z.
    pub grid: [u32; 3],
    /// The data buffers in the order of their bindings.
    pub slots: Vec<Slot>,
    /// How far floats may be off.
    pub bound: Bound,
}

/// The words of a uniform block.
pub fn words<P: Pod>(params: &P) -> Vec<u32> {
    bytemuck::cast_slice(std::slice::from_ref(params)).to_vec()
}

/// Half a unit in the last place of an f32 in [1, 2): the relative error of one rounding.
pub const ROUNDING: f64 = 1.0 / (1u32 << 24) as f64;

/// Numbers for cases: the SplitMix64 sequence, the same on every machine.
pub struct Numbers(u64);

impl Numbers {
    /// A sequence of its own for every seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// `count` floats, uniform in `-magnitude..magnitude`.
    pub fn floats(&mut self, count: usize, magnitude: f32) -> Vec<f32> {
        (0..count).map(|_| ((self.next() >> 40) as f32 / (1u32 << 23) as f32 - 1.0) * magnitude).collect()
    }

    /// `count` integers in `0..end`.
    pub fn integers(&mut self, count: usize, end: u32) -> Vec<u32> {
        (0..count).map(|_| (self.next() % u64::from(end)) as u32).collect()
    }
}
