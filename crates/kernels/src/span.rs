//! Which tokens of the cache a step reads and writes, and which patches attend to each other.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// For each of B rows: how many tokens its cache holds already, and how many of the step's T tokens are its own.
///
/// Rows of one step may have prompts of different lengths: they are padded on the right to T, and what stands beyond
/// `counts[b]` is computed but neither stored nor read. Query `i` of row `b` stands at position `starts[b] + i` of its
/// cache and attends positions `0..=starts[b] + i`.
#[derive(Debug, Clone)]
pub struct Span {
    starts: Vec<usize>,
    counts: Vec<usize>,
    width: usize,
    tensor: Tensor<2, Int>,
}

impl Span {
    /// A step of `width` (T) tokens. `starts` and `counts` have one entry per row, `counts[b] <= width`.
    pub fn new(starts: Vec<usize>, counts: Vec<usize>, width: usize, device: &Device) -> Self {
        assert_eq!(starts.len(), counts.len(), "one start and one count per row");
        assert!(counts.iter().all(|&count| count <= width), "a row has more tokens than the step is wide");
        let pairs: Vec<i32> =
            starts.iter().zip(&counts).flat_map(|(&start, &count)| [start as i32, count as i32]).collect();
        let tensor = Tensor::from_data(TensorData::new(pairs, [starts.len(), 2]), device);
        Self { starts, counts, width, tensor }
    }

    /// Tokens each row held before this step.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// Tokens of this step that belong to each row.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// T, the padded width of the step.
    pub fn width(&self) -> usize {
        self.width
    }

    /// L, the longest row after this step.
    pub fn longest(&self) -> usize {
        self.starts.iter().zip(&self.counts).map(|(start, count)| start + count).max().unwrap_or(0)
    }

    /// Start and count, when all rows agree: one slice then serves the whole batch.
    pub(crate) fn uniform(&self) -> Option<(usize, usize)> {
        let first = (*self.starts.first()?, *self.counts.first()?);
        let mut rows = self.starts.iter().zip(&self.counts);
        rows.all(|(&start, &count)| (start, count) == first).then_some(first)
    }

    /// Start and count of each row, `[B, 2]`.
    pub(crate) fn tensor(&self) -> Tensor<2, Int> {
        self.tensor.clone()
    }

    /// Cache positions of the queries `from..from + rows` of every row, `[B, rows]`.
    pub(crate) fn positions(&self, from: usize, rows: usize) -> Tensor<2, Int> {
        let places = Tensor::arange(from as i64..(from + rows) as i64, &self.tensor.device());
        self.tensor.clone().narrow(1, 0, 1) + places.unsqueeze_dim(0)
    }
}

/// Lengths of consecutive runs of patches that attend within themselves: attention windows, or whole pictures.
#[derive(Debug, Clone)]
pub struct Segments {
    lengths: Vec<usize>,
    bounds: Tensor<1, Int>,
}

impl Segments {
    /// Runs of these lengths, in order.
    pub fn new(lengths: Vec<usize>, device: &Device) -> Self {
        let ends = lengths.iter().scan(0, |end, &length| {
            *end += length;
            Some(*end as i32)
        });
        let bounds: Vec<i32> = std::iter::once(0).chain(ends).collect();
        let count = bounds.len();
        Self { lengths, bounds: Tensor::from_data(TensorData::new(bounds, [count]), device) }
    }

    /// The lengths.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Where each run begins, and where the last ends, `[runs + 1]`.
    pub(crate) fn bounds(&self) -> Tensor<1, Int> {
        self.bounds.clone()
    }
}
