//! Products of matrices within larger ones, on one core.

/// Rows of `width` values, `stride` apart; or, transposed, columns.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    /// Between rows, and between columns.
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// # Panics
    ///
    /// If the values do not hold it.
    pub fn new(values: &'a [f32], [rows, columns]: [usize; 2], stride: usize) -> Self {
        assert!(rows == 0 || columns == 0 || (rows - 1) * stride + columns <= values.len());
        Self { values, rows, columns, strides: [stride, 1] }
    }

    pub fn transposed(self) -> Self {
        let Self { values, rows, columns, strides: [row, column] } = self;
        Self { values, rows: columns, columns: rows, strides: [column, row] }
    }
}

/// `scale * a b`, added to what `out` holds or in its place; rows of `out` are `stride` apart.
pub(crate) fn product(out: &mut [f32], stride: usize, a: Matrix, b: Matrix, scale: f32, add: bool) {
    assert_eq!(a.columns, b.rows, "inner sides agree");
    let [rows, columns] = [a.rows, b.columns];
    if rows == 0 || columns == 0 {
        return;
    }
    assert!((rows - 1) * stride + columns <= out.len(), "the result fits");
    // SAFETY: each matrix lies within its slice, as checked here and in `Matrix::new`, and `out` is no other's.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            a.columns,
            out.as_mut_ptr(),
            1,
            stride as isize,
            add,
            a.values.as_ptr(),
            a.strides[1] as isize,
            a.strides[0] as isize,
            b.values.as_ptr(),
            b.strides[1] as isize,
            b.strides[0] as isize,
            1.0,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
